"""What was converted, opened and run once by the runtime, before it counts as a file.

pnnx writes a layer that it could not translate as if it were one, and says nothing; such a file
does not open, or gives other numbers than the network's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from toolchain.deploy.detector.ncnn_file import new_net
from toolchain.errors import ExportError
from toolchain.system.quiet import silent

INSTEAD = "use the ONNX file"


def layers_of(param: str) -> list[list[str]]:
    """Return the words of each layer's line: type, name, counts, blobs, parameters."""
    return [line.split() for line in param.splitlines()[2:] if line.strip()]


def check_known(param: str, model: onnx.ModelProto) -> None:
    """Raise :class:`ExportError` that names the layers whose kinds the runtime does not have."""
    with silent():
        import ncnn

        unknown = [words for words in layers_of(param) if ncnn.layer_to_index(words[0]) < 0]
    kinds = list(dict.fromkeys(words[0] for words in unknown))
    if not kinds:
        return
    nodes = [f"{node.op_type} {node.name}" for node in model.graph.node if node.op_type in kinds]
    places = nodes or [f"{words[0]} {words[1]}" for words in unknown]
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    raise ExportError(
        f"the network cannot be converted to ncnn (it does not know the operator "
        f"{', '.join(kinds)}: {', '.join(places[:3])}{more}); {INSTEAD}"
    )


def check_runs(param: Path, weights: Path, model: onnx.ModelProto) -> None:
    """Open the two files and run them on zeros.

    Raises :class:`ExportError` that names the layer that does not open or run, or the output that
    is of another size than the model's.
    """
    with silent():
        import ncnn

        layers = layers_of(param.read_text(encoding="utf-8"))
        net = new_net(ncnn, 1, half=False)
        if net.load_param(str(param)) or net.load_model(str(weights)):
            raise ExportError(
                f"ncnn does not open what pnnx makes of the network{_suspects(layers)}; {INSTEAD}"
            )
        extractor = net.create_extractor()
        sides = _sides(model.graph.input[0])
        extractor.input(net.input_names()[0], ncnn.Mat(np.zeros(sides[1:], np.float32)))
        for index, output in enumerate(model.graph.output):
            blob, count = f"out{index}", math.prod(_sides(output))
            code, value = extractor.extract(blob)
            if code:
                raise ExportError(
                    f"ncnn does not run what pnnx makes of the network (code {code} at "
                    f"{_first_failing(extractor, layers)}); {INSTEAD}"
                )
            found = np.array(value).size
            if found != count:
                raise ExportError(
                    f"ncnn gives {found} numbers for {output.name}, which has {count}: pnnx makes "
                    f"something else of the network; {INSTEAD}"
                )


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _suspects(layers: list[list[str]]) -> str:
    """Name layers that were given no parameter, and values where the runtime has weights."""
    bare = [words for words in layers if len(words) == 4 + int(words[2]) + int(words[3])]
    names = [f"{words[0]} {words[1]}" for words in bare if int(words[2]) > 2]
    return f" ({', '.join(names[:3])})" if names else ""


def _first_failing(extractor: Any, layers: list[list[str]]) -> str:
    """Return the first layer, in order, whose values cannot be had."""
    for kind, name, reads, gives, *words in layers:
        blobs = words[int(reads) : int(reads) + int(gives)]
        if any(extractor.extract(blob)[0] for blob in blobs):
            return f"{kind} {name}"
    return "an output"

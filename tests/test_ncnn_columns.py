"""ncnn files whose outputs are columns of maps: the runtime turns and copies nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from toolchain.deploy.detector.errors import DetectError
from toolchain.deploy.detector.ncnn_facts import METADATA, PARAM, Column
from toolchain.deploy.detector.ncnn_file import NcnnRunner
from toolchain.deploy.detector.ncnn_maps import columns_of, sigmoid
from toolchain.exporting.ncnn.ends import find_ends
from toolchain.exporting.ncnn.ncnn_file import write_ncnn
from toolchain.exporting.onnx_file import export_onnx
from toolchain.exporting.rewriting import Rewrites
from toolchain.records.run_folder import NCNN_FOLDER
from toolchain.system.sessions import open_session

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


class Columns(nn.Module):
    """Two levels of seven channels: two scores, four numbers, and one that nothing reads."""

    def __init__(self, end: str = "") -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 7, 3, 2, 1), nn.Conv2d(7, 7, 3, 2, 1)
        self.end = end

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) -> scores and numbers of the fine level, then of the coarse one."""
        fine = self.stem(x)
        coarse = self.down(fine)
        found: list[Tensor] = []
        for level in (fine, coarse):
            rows = level.flatten(2).transpose(1, 2)
            numbers = rows[..., 2:6]
            if self.end == "doubled":
                numbers = 2 * numbers
            if self.end == "turned":
                numbers = level[:, 2:6].transpose(2, 3).flatten(2).transpose(1, 2)
            found += [torch.sigmoid(rows[..., :2]), numbers]
        if self.end == "joined":
            return torch.cat(found[::2], 1), torch.cat(found[1::2], 1)
        if self.end == "maps":
            return fine, coarse
        return tuple(found)


def exported(folder: Path, end: str = "") -> onnx.ModelProto:
    torch.manual_seed(0)
    count = {"joined": 2, "maps": 2}.get(end, 4)
    export_onnx(
        Columns(end).eval(),
        (torch.zeros(1, 3, 24, 40),),
        path=folder / "model.onnx",
        output_names=tuple(f"out{index}" for index in range(count)),
        metadata={},
        input_names=("image",),
        rewrites=Rewrites(("heads",)),
    )
    model = onnx.load(folder / "model.onnx")
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def test_outputs_are_told_by_where_their_numbers_come_from(tmp_path: Path) -> None:
    ends = find_ends(exported(tmp_path))
    assert ends is not None
    assert ends.levels is None
    assert ends.columns == (
        Column(0, (0, 1), scored=True),
        Column(0, (2, 3, 4, 5), scored=False),
        Column(1, (0, 1), scored=True),
        Column(1, (2, 3, 4, 5), scored=False),
    )


@pytest.mark.parametrize("end", ["doubled", "turned", "joined", "maps"])
def test_outputs_that_are_anything_else_stay(end: str, tmp_path: Path) -> None:
    assert find_ends(exported(tmp_path, end)) is None


def test_the_file_gives_what_the_network_gives_and_runs_convolutions_alone(tmp_path: Path) -> None:
    model = exported(tmp_path)
    write_ncnn(model, tmp_path, texts={}, for_detect=True)
    runner = NcnnRunner(tmp_path / NCNN_FOLDER, 1)
    image = 3 * np.random.default_rng(0).standard_normal((1, 3, 24, 40)).astype(np.float32)
    session = open_session(model.SerializeToString())
    for _ in range(2):  # what the first run gave is not read again
        found = runner.run(runner.fed(image))
        for ours, theirs in zip(found, session.run(None, {"image": image}), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    layers = [line.split()[0] for line in (tmp_path / NCNN_FOLDER / PARAM).read_text().splitlines()]
    assert set(layers[2:]) == {"Input", "Convolution", "Split"}


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    write_ncnn(exported(tmp_path), tmp_path, texts={}, for_detect=True)
    place = tmp_path / NCNN_FOLDER / METADATA
    facts = json.loads(place.read_text())
    for broken in ({"map": 2}, {"channels": []}):
        columns = [{**facts["columns"][0], **broken}, *facts["columns"][1:]]
        place.write_text(json.dumps({**facts, "columns": columns}))
        with pytest.raises(DetectError, match="contradicts itself"):
            NcnnRunner(place.parent, 1)
    place.write_text(json.dumps({**facts, "columns": [{"map": -1}]}))
    with pytest.raises(DetectError, match="not as the toolchain writes it"):
        NcnnRunner(place.parent, 1)


def test_channels_in_any_order_and_large_scores() -> None:
    maps = [np.arange(12, dtype=np.float32).reshape(3, 2, 2), np.full((1, 1, 1), -200, np.float32)]
    found = columns_of(maps, [Column(0, (2, 0), scored=False), Column(1, (0,), scored=True)])
    assert found[0].tolist() == [[[8, 0], [9, 1], [10, 2], [11, 3]]]
    assert found[1].tolist() == [[[0.0]]]
    assert sigmoid(np.array([0.0, 200.0], np.float32)).tolist() == [0.5, 1.0]

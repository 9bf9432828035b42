"""How large networks are."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def deployed_parameters(network: nn.Module) -> int:
    """Weights of all layers, each shared tensor once, and a bias for every output channel.

    Norms are not counted (an exporter folds most of them), and every layer is taken to have a
    bias (it has one once a norm or a constant is folded into it).
    """
    weights: dict[int, int] = {}
    seen: list[Tensor] = []  # a parametrised weight is computed anew, and its id is another's next
    for module in network.modules():
        if isinstance(module, LAYERS):
            weight = module.weight
            seen.append(weight)
            out_channels = getattr(module, "out_channels", None) or module.out_features
            weights[id(weight)] = weight.numel() + int(out_channels)
        elif isinstance(module, nn.RNNBase):
            own = module.parameters(recurse=False)
            weights |= {id(parameter): parameter.numel() for parameter in own}
    return sum(weights.values())


def parameters_in_all(network: nn.Module) -> int:
    """All parameters and buffers, each shared tensor once."""
    return sum(tensor.numel() for tensor in [*network.parameters(), *network.buffers()])

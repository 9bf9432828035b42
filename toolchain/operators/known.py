"""The operators of PyTorch (``aten``) whose traits are known, checked one by one in the tests."""

from __future__ import annotations

from typing import Any

from toolchain.operators import hiding, keeping, moving, multiplying, picking, products
from toolchain.operators.traits import Operator


def _each(names: str, **traits: Any) -> dict[str, Operator]:
    """Give every operator of a list the same traits."""
    return dict.fromkeys(names.split(), Operator(**traits))


LAYERS = {
    **_each("convolution", nan=hiding.convolution, macs=products.convolution, layer="convolution"),
    **_each("mm addmm", nan=hiding.matrix_product, macs=products.matrix_product, layer="product"),
    **_each(
        "native_batch_norm _native_batch_norm_legit_no_training",
        channels=keeping.batch_norm,
        nan=hiding.batch_norm,
        layer="batch_norm",
    ),
}

ARITHMETIC = {
    **_each(
        """
        relu relu_ leaky_relu leaky_relu_ silu silu_ sigmoid sigmoid_ tanh tanh_ hardswish
        hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ elu elu_ gelu mish mish_ softplus
        add add_ sub sub_ rsub mul_ div div_ neg abs exp log log1p expm1 sqrt rsqrt square
        reciprocal sin cos erf clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ minimum
        maximum clone _to_copy lerp addcmul addcdiv
        """,
        channels=keeping.pointwise,
        nan="carried",
    ),
    **_each("_prelu_kernel", channels=keeping.prelu, nan="carried"),
    **_each("mul", channels=keeping.pointwise, nan=hiding.product),
    **_each("pow", channels=keeping.pointwise, nan=hiding.power),
    **_each("where masked_fill", channels=keeping.pointwise, nan=hiding.choose),
    **_each("mean sum amax amin", channels=keeping.reduction, nan="carried"),
    **_each("max min", nan="carried"),
    **_each(
        "bmm",
        channels=multiplying.batched_product,
        nan=multiplying.hiding_product,
        macs=products.matrix_product,
        multiplies="product",
    ),
    **_each(
        "_scaled_dot_product_flash_attention_for_cpu",
        channels=multiplying.attention,
        nan=multiplying.hiding_attention,
        multiplies="attention",
    ),
}

SWALLOWING = _each(
    """
    relu6 selu celu log_sigmoid_forward softsign threshold threshold_ pow_ atan round floor ceil
    trunc frac sign sgn fmin fmax heaviside masked_fill_ nan_to_num gt ge lt le eq ne isnan isfinite
    logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not copysign remainder fmod
    fake_quantize_per_tensor_affine_cachemask
    _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
    """,
    channels=keeping.pointwise,
)
"""Position by position, but NaN may be lost in them, or was not tried."""

POSITIONS = {
    **_each(
        """
        max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
        upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d
        reflection_pad2d replication_pad2d
        """,
        channels=keeping.spatial,
        nan="carried",
    ),
    **_each("_upsample_bilinear2d_aa", channels=keeping.spatial),
    **_each("constant_pad_nd", channels=keeping.padding, nan="carried"),
    **_each("_softmax", channels=keeping.along_positions),
    **_each("native_layer_norm", channels=keeping.layer_norm, nan="carried"),
    **_each("native_group_norm", channels=keeping.group_norm, nan="carried"),
}

VIEWS = {
    **_each("detach alias", channels=keeping.pointwise, nan="carried", view=True),
    **_each(
        "view _unsafe_view squeeze unsqueeze transpose permute t expand",
        channels=moving.moved,
        nan="carried",
        view=True,
    ),
}

MOVING = {
    **_each("flip repeat pixel_shuffle pixel_unshuffle", channels=moving.moved, nan="carried"),
    **_each(
        "split unsafe_split split_with_sizes", channels=moving.moved_in_equal_parts, nan="carried"
    ),
    **_each("slice", channels=moving.sliced, nan="carried"),
    **_each("unbind", channels=moving.unbound, nan="carried"),
    **_each("select", channels=picking.selected, nan="carried"),
    **_each("roll", channels=picking.rolled, nan="carried"),
    **_each("index_select gather", channels=picking.picked, nan="carried"),
    **_each("transpose_", channels=moving.transposed_in_place, nan="carried"),
    **_each("cat stack", channels=moving.laid_together, nan="carried"),
    **_each("channel_shuffle native_channel_shuffle", channels=moving.shuffled, nan="carried"),
    **_each("glu", channels=moving.gated, nan="carried"),
    **_each("as_strided copy_ index_put index_put_ reshape", nan="carried"),
    **_each("index", channels=picking.picked, nan="carried", picks=True),
    **_each("masked_select", nan="carried", picks=True),
}
"""Values go elsewhere."""

SHAPES = {
    **_each("zeros_like ones_like full_like", channels=keeping.pointwise, shape_only=True),
    **_each("empty_like new_empty new_zeros new_ones new_full", shape_only=True),
}

ESCAPES = _each(
    """
    _local_scalar_dense nonzero is_nonzero equal unique _unique2 unique_dim unique_consecutive
    repeat_interleave bincount
    """,
    escapes=True,
)

BUILT_IN: dict[str, Operator] = {
    **LAYERS,
    **ARITHMETIC,
    **SWALLOWING,
    **POSITIONS,
    **VIEWS,
    **MOVING,
    **SHAPES,
    **ESCAPES,
}

"""The kinds of pretrained backbones that are built, and the settings of theirs that are understood.

Both tables are closed. A description of a network may come from a stranger's run folder: nothing in it that
is nested, or that names a file, a module or a repository, reaches the library that builds the network.
"""

import math
from collections.abc import Mapping
from typing import Any

from pellucid.errors import UsageError

# Each was built, and asked, without any other file than its weights and its settings.
KINDS = (
    "beit", "bit", "clip_vision_model", "convnext", "convnextv2", "data2vec-vision", "deit", "dinov2",
    "dinov2_with_registers", "dinov3_convnext", "dinov3_vit", "focalnet", "ijepa", "poolformer",
    "pvt", "pvt_v2", "regnet", "resnet", "segformer", "siglip_vision_model", "swin", "swinv2", "vit",
    "vit_msn",
)  # fmt: skip
# Of these, every part of a picture is compared with every other.
TRANSFORMERS = (
    "beit", "clip_vision_model", "data2vec-vision", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit",
    "ijepa", "siglip_vision_model", "vit", "vit_msn",
)  # fmt: skip

MOST_VALUES = 16  # of a list
MOST_LAYERS, MOST_WIDTH, MOST_SIDE = 128, 16_384, 1_024
MOST_PARTS = 4_096  # of a picture, of TRANSFORMERS: memory grows with the square

Range = tuple[float, float]
_FEW: Range = (0, 64)
_ANY: Range = (-1e6, 1e6)
_LAYERS, _WIDTH, _SIDE = (0, MOST_LAYERS), (1, MOST_WIDTH), (1, MOST_SIDE)

# Whole numbers, or lists of them, from the least to the greatest.
COUNTS: dict[str, Range] = {
    **dict.fromkeys(("num_hidden_layers", "depths", "num_layers"), _LAYERS),
    **dict.fromkeys(
        (
            "hidden_size", "hidden_sizes", "intermediate_size", "embed_dim", "embedding_size",
            "projection_dim", "pooler_output_size", "groups_width",
            "num_attention_heads", "num_heads",
        ),
        _WIDTH,
    ),
    **dict.fromkeys(("image_size", "patch_size", "patch_sizes", "window_size", "output_stride"), _SIDE),
    "pretrained_window_sizes": (0, MOST_SIDE),
    **dict.fromkeys(
        (
            "num_stages", "num_encoder_blocks", "num_groups", "strides", "pool_size", "stride", "sr_ratios",
            "conv_kernel_size", "sequence_reduction_ratios", "focal_levels", "focal_windows", "width_factor",
            "encoder_stride",
        ),
        (1, 64),
    ),
    "num_channels": (3, 3),
    "num_register_tokens": (0, 64),
    "padding": (0, 64),
}  # fmt: skip
# Any number of a reasonable size, or lists of them.
NUMBERS: dict[str, Range] = {
    **dict.fromkeys(
        (
            "hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "initializer_range",
            "initializer_factor", "classifier_dropout_prob", "drop_path_rate", "layer_norm_eps",
            "layer_scale_init_value", "layerscale_value", "rope_theta", "pos_embed_shift", "pos_embed_jitter",
            "pos_embed_rescale",
        ),
        _ANY,
    ),
    **dict.fromkeys(("mlp_ratio", "mlp_ratios", "expand_ratio"), _FEW),
}  # fmt: skip
FLAGS = (
    "qkv_bias", "use_mask_token", "use_absolute_position_embeddings", "use_relative_position_bias",
    "use_shared_relative_position_bias", "use_mean_pooling", "use_swiglu_ffn", "query_bias", "key_bias",
    "value_bias", "proj_bias", "mlp_bias", "use_gated_mlp", "downsample_in_first_stage",
    "downsample_in_bottleneck", "use_absolute_embeddings", "use_conv_embed", "use_layerscale",
    "use_post_layernorm", "normalize_modulator",
    "use_post_layernorm_in_modulation", "linear_attention", "use_layer_scale", "embedding_dynamic_padding",
    "reshape_last_stage", "vision_use_head",
)  # fmt: skip
_ACTIVATIONS = (
    "gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "hard_swish", "hardswish", "leaky_relu", "mish",
    "quick_gelu", "relu", "relu6", "sigmoid", "silu", "swish", "tanh",
)  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {
    "hidden_act": _ACTIVATIONS,
    "pooler_act": _ACTIVATIONS,
    "layer_type": ("basic", "bottleneck", "preactivation", "x", "y"),
    "global_padding": ("same", "valid"),
}
OPTIONAL = ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale", "global_padding")  # null as well
KEYS = frozenset(("model_type", *COUNTS, *NUMBERS, *FLAGS, *WORDS))

# Settings of a published network that its features do not depend on.
IGNORED = frozenset(
    (
        "_name_or_path", "apply_layernorm", "architectures", "aspp_dropout_prob", "aspp_out_channels",
        "atrous_rates", "auxiliary_channels", "auxiliary_concat_input", "auxiliary_loss_weight",
        "auxiliary_num_convs", "add_fpn", "chunk_size_feed_forward", "decoder_hidden_size", "dtype",
        "id2label", "is_encoder_decoder", "label2id", "num_labels", "out_features", "out_indices",
        "output_attentions", "output_hidden_states", "pool_scales", "problem_type", "reshape_hidden_states",
        "return_dict", "semantic_loss_ignore_index", "stage_names", "torch_dtype", "transformers_version",
        "use_auxiliary_head", "vocab_size",
    )
)  # fmt: skip


def published_settings(config: Mapping[str, Any], defaults: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a published configuration that decide its network, each of a kind that is understood.

    defaults  what the library takes where the configuration is silent, by name

    Raises UsageError for another kind of network, and for a setting that is neither understood nor at its
    default.
    """
    for key, value in config.items():
        if key in defaults and key not in KEYS and key not in IGNORED and value != defaults[key]:
            raise UsageError(
                f"'{name}' has a setting that is not understood: {key} = {str(value)[:60]}. "
                "Choose another network."
            )
    try:
        return checked_settings({key: value for key, value in config.items() if key in KEYS})
    except ValueError as error:
        raise UsageError(f"'{name}' cannot be built: {error}. Choose another network.") from error


def checked_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network as they are. Raises ValueError for a kind that is not in KINDS, for a key in
    none of the tables, and for a value of another kind or beyond its bounds."""
    kind = config.get("model_type")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of network {_shown(kind)}. Known: {', '.join(KINDS)}")
    for key, value in config.items():
        if key not in KEYS:
            raise ValueError(f"unknown setting {_shown(key)}")
        if key == "model_type" or (value is None and key in OPTIONAL):
            continue
        values = _values(value)
        if not 0 < len(values) <= MOST_VALUES or not all(_fits(key, each) for each in values):
            raise ValueError(f"{key} is {_shown(value)}, beyond what a network can have")
    if sum(each for each in _values(config.get("depths", 0))) > MOST_LAYERS:
        raise ValueError(f"depths are {_shown(config['depths'])}: more than {MOST_LAYERS} layers")
    return dict(config)


def refuse_many_parts(config: Mapping[str, Any], side: int) -> None:
    """Raises ValueError where a picture of so many pixels a side would be cut into more parts than a
    transformer can compare."""
    side = max(side, *_values(config.get("image_size", 1)))
    parts = math.ceil(side / min(_values(config.get("patch_size", 16)))) ** 2
    if config["model_type"] in TRANSFORMERS and parts > MOST_PARTS:
        raise ValueError(f"{parts:,} parts of pictures of {side} pixels; expected up to {MOST_PARTS:,}")


def _fits(key: str, value: object) -> bool:
    """Whether one value is of the kind and within the bounds of its key."""
    if key in COUNTS:
        return type(value) is int and COUNTS[key][0] <= value <= COUNTS[key][1]
    if key in NUMBERS:
        return type(value) in (int, float) and NUMBERS[key][0] <= float(value) <= NUMBERS[key][1]  # type: ignore[arg-type]
    return type(value) is bool if key in FLAGS else isinstance(value, str) and value in WORDS[key]


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

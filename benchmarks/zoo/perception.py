"""transformers' models of images and sound, and diffusers' models."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.entry import Entry, Setup, tokens, training

_LAYERS = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_WAVE = {
    **_LAYERS, "conv_dim": (32, 32, 32), "conv_stride": (5, 4, 4), "conv_kernel": (10, 8, 8), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "mask_time_prob": 0.0, "vocab_size": 32,
}  # fmt: skip


def entries() -> Iterator[Entry]:
    """Small ones, on 2 images of 64 by 64 or a second of sound."""
    entry = partial(Entry, packages=("transformers",))
    yield entry(name="transformers/ViT", build=_vit)
    yield entry(name="transformers/Segformer", build=_segformer)
    yield entry(name="transformers/CLIP", build=_clip)
    yield entry(name="transformers/Wav2Vec2", build=partial(_wave, "Wav2Vec2"))
    yield entry(name="transformers/Hubert", build=partial(_wave, "Hubert"))
    yield entry(name="transformers/Whisper", build=_whisper)
    diffusion = partial(Entry, packages=("diffusers",))
    yield diffusion(name="diffusers/UNet2D", build=_unet)
    yield diffusion(name="diffusers/UNet2DCondition", build=_conditioned_unet)
    yield diffusion(name="diffusers/AutoencoderKL", build=_autoencoder)
    yield diffusion(name="diffusers/DiT", build=_dit)


def _vit() -> Setup:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(**_LAYERS, image_size=64, patch_size=16, num_labels=10))
    return training(model, {"pixel_values": torch.randn(2, 3, 64, 64), "labels": torch.randint(0, 10, (2,))})


def _segformer() -> Setup:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 32, 64], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=32,
        num_labels=5,
    )  # fmt: skip
    batch = {"pixel_values": torch.randn(2, 3, 64, 64), "labels": torch.randint(0, 5, (2, 64, 64))}
    return training(SegformerForSemanticSegmentation(config), batch)


def _clip() -> Setup:
    from transformers import CLIPConfig, CLIPModel

    text = {**_LAYERS, "vocab_size": 256, "max_position_embeddings": 64, "eos_token_id": 2, "pad_token_id": 1}
    config = CLIPConfig(
        text_config=text, vision_config={**_LAYERS, "image_size": 64, "patch_size": 16}, projection_dim=32
    )
    batch = {"input_ids": tokens(), "pixel_values": torch.randn(2, 3, 64, 64), "return_loss": True}
    return training(CLIPModel(config), batch, _own_loss)


def _own_loss(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    return model(**batch).loss  # type: ignore[no-any-return]


def _wave(kind: str) -> Setup:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**_WAVE, pad_token_id=0)
    model = getattr(transformers, f"{kind}ForCTC")(config)
    return training(model, {"input_values": torch.randn(2, 16_000), "labels": torch.randint(1, 32, (2, 12))})


def _whisper() -> Setup:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=256, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, num_mel_bins=16, max_source_positions=100,
        max_target_positions=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    batch = {"input_features": torch.randn(2, 16, 200), "labels": tokens()}
    return training(WhisperForConditionalGeneration(config), batch)


def _noise_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    noisy, *others, noise = batch
    return nn.functional.mse_loss(model(noisy, *others).sample, noise)


def _unet() -> Setup:
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return training(
        model, (torch.randn(2, 3, 32, 32), torch.randint(0, 1000, (2,)), torch.randn(2, 3, 32, 32)), _noise_loss
    )


def _conditioned_unet() -> Setup:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    batch = (torch.randn(2, 4, 32, 32), torch.randint(0, 1000, (2,)), torch.randn(2, 8, 32), torch.randn(2, 4, 32, 32))
    return training(model, batch, _noise_loss)


def _autoencoder() -> Setup:
    from diffusers import AutoencoderKL

    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    model = AutoencoderKL(block_out_channels=(32, 64), norm_num_groups=8, latent_channels=4, **kinds)
    images = torch.randn(2, 3, 32, 32)
    return training(model, (images, images), _noise_loss)


def _dit() -> Setup:
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=4, num_layers=2, sample_size=16,
        patch_size=2, num_embeds_ada_norm=1000,
    )  # fmt: skip
    batch = (
        torch.randn(2, 4, 16, 16), torch.randint(0, 1000, (2,)), torch.randint(0, 1000, (2,)), torch.randn(2, 4, 16, 16),
    )  # fmt: skip
    return training(model, batch, _noise_loss)

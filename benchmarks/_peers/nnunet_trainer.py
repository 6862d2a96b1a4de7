"""nnU-Net's trainer on a budget, as it comes and tuned; imported once its environment variables are set."""

from __future__ import annotations

import math
from typing import Any

import torch
from budget import Clock
from nnunetv2.training.data_augmentation.compute_initial_patch_size import (  # type: ignore[import-not-found]
    get_patch_size,
)
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler  # type: ignore[import-not-found]
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # type: ignore[import-not-found]

ROTATION = math.radians(30)
RATE, DECAY = 5e-3, 1e-4
FOREGROUND = 0.5  # share of patches centred on a structure


class Budgeted(nnUNetTrainer):  # type: ignore[misc]
    """Steps until the budget is spent, without validation and checkpoints; the decay of the rate follows the clock.

    Attributes:
        clock: Set by the caller before :meth:`run_training`.
    """

    clock: Clock

    def run_training(self) -> None:
        """Train until no further step fits."""
        self.disable_checkpointing = True
        self.on_train_start()
        self.network.train()
        self.clock.mark("prepare")
        while self.clock.another():
            self.lr_scheduler.step(self.num_epochs * self.clock.progress())
            loss = self.train_step(next(self.dataloader_train))["loss"]
            if self.clock.iterations % 50 == 1:
                print(f"step {self.clock.iterations}, loss {float(loss):.3f}", flush=True)
        self.clock.mark("train")
        self.on_train_end()


class Tuned(Budgeted):
    """As one who knows nnU-Net would set it for ten minutes on two cores: bfloat16, AdamW, upright hearts."""

    def initialize(self) -> None:
        """Rates and sampling, then the network in channels-last memory."""
        self.initial_lr, self.weight_decay, self.oversample_foreground_percent = RATE, DECAY, FOREGROUND
        super().initialize()
        self.network.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> tuple[Any, Any]:
        """AdamW, which nnU-Net offers beside its momentum of 0.99: that needs far more steps."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:  # noqa: N802
        """Rotation within 30 degrees, no mirroring; the rest of the augmentation stays."""
        rotation = (-ROTATION, ROTATION)
        size = get_patch_size(self.configuration_manager.patch_size, rotation, rotation, rotation, (0.85, 1.25))
        self.inference_allowed_mirroring_axes = None
        return rotation, False, size, None

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, with the autocast that it keeps to GPUs."""
        self.optimizer.zero_grad(set_to_none=True)
        image = batch["data"].to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            output = self.network(image)
        loss = self.loss([o.float() for o in output], batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}

"""Recurrence across slices: each slice's features take in what lies before and behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isocenter.networks.blocks.convolution import convolution

__all__ = ["ConvGRU", "ConvLSTM", "SliceRecurrence"]


class ConvGRU(nn.Module):
    """Gated recurrent unit whose products are convolutions; with 1x1 kernels, `torch.nn.GRUCell` at every place.

    Args:
        c_in: Channels in.
        hidden: Channels out.
        kernel: Edge of the convolutions.

    Reference:
        Ballas et al., *Delving deeper into convolutional networks for learning video representations*, ICLR 2016.

    Example:
        >>> ConvGRU(4, 6)(torch.ones(2, 5, 4, 8, 8)).shape
        torch.Size([2, 5, 6, 8, 8])
    """

    def __init__(self, c_in: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_input = convolution(2, c_in, 3 * hidden, [kernel, kernel])
        self.of_state = convolution(2, hidden, 3 * hidden, [kernel, kernel])

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, slice, channel, row, column)``, the first slice first."""
        batch, slices = x.shape[:2]
        # what does not depend on the state is computed for all slices at once
        given = self.of_input(x.flatten(0, 1)).unflatten(0, (batch, slices))
        state = given.new_zeros(batch, self.hidden, *x.shape[3:])
        out = []
        for k in range(slices):
            r_in, z_in, n_in = given[:, k].chunk(3, 1)
            r_h, z_h, n_h = self.of_state(state).chunk(3, 1)
            keep = torch.sigmoid(z_in + z_h)
            new = torch.tanh(n_in + torch.sigmoid(r_in + r_h) * n_h)
            state = new + keep * (state - new)
            out.append(state)
        return torch.stack(out, 1)


class ConvLSTM(nn.Module):
    """Long short-term memory whose products are convolutions; with 1x1 kernels, `torch.nn.LSTMCell` at every place.

    Args:
        c_in: Channels in.
        hidden: Channels out.
        kernel: Edge of the convolutions.

    Reference:
        Shi et al., *Convolutional LSTM network*, NeurIPS 2015.
    """

    def __init__(self, c_in: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_input = convolution(2, c_in, 4 * hidden, [kernel, kernel])
        self.of_state = convolution(2, hidden, 4 * hidden, [kernel, kernel])

    def forward(self, x: Tensor) -> Tensor:
        """As `ConvGRU.forward`."""
        batch, slices = x.shape[:2]
        given = self.of_input(x.flatten(0, 1)).unflatten(0, (batch, slices))
        state = given.new_zeros(batch, self.hidden, *x.shape[3:])
        cell = torch.zeros_like(state)
        out = []
        for k in range(slices):
            enter, forget, new, give = (given[:, k] + self.of_state(state)).chunk(4, 1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            state = torch.sigmoid(give) * torch.tanh(cell)
            out.append(state)
        return torch.stack(out, 1)


class SliceRecurrence(nn.Module):
    """Two recurrences, up and down the slices, added to what went in.

    Args:
        channels: In and out.
        unit: ``"gru"`` or ``"lstm"``.
    """

    def __init__(self, channels: int, unit: str = "gru") -> None:
        super().__init__()
        kind = ConvGRU if unit == "gru" else ConvLSTM
        hidden = max(1, channels // 2)
        self.up, self.down = kind(channels, hidden), kind(channels, hidden)
        self.mix = convolution(2, 2 * hidden, channels, [1, 1])

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """``(batch * slices, channel, row, column)``, the same shape."""
        stack = x.unflatten(0, (batch, -1))
        both = torch.cat([self.up(stack), self.down(stack.flip(1)).flip(1)], 2)
        return x + self.mix(both.flatten(0, 1))  # type: ignore[no-any-return]

"""Learning-rate schedules which the module tells how long it trains."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from r1lit.errors import InputError


class PlannedSchedule(LRScheduler):
    """A schedule whose length follows from the data, so that no configuration has to state it.

    The module calls :meth:`plan` before the first update. Subclasses give a closed form, :meth:`factor`; hence a
    resumed run needs the count of updates alone, and one that is made longer follows the longer curve from there.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.total = 1
        super().__init__(optimizer)

    def plan(self, total: int) -> None:
        """Sets the number of updates of the whole training."""
        self.total = max(1, total)
        self._set()

    def factor(self, update: int, total: int) -> float:
        """What the peak rate is multiplied with for update number ``update`` (from 0) of ``total``."""
        raise NotImplementedError

    def get_lr(self) -> list[float | object]:  # type: ignore[override]
        """The rate of each parameter group."""
        factor = self.factor(min(self.last_epoch, self.total - 1), self.total)
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, object]:
        """All but the length, which the module plans anew."""
        return {name: value for name, value in super().state_dict().items() if name != "total"}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Takes up the count."""
        super().load_state_dict(state_dict)
        self._set()

    def _set(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class CosineToTenth(PlannedSchedule):
    """From the peak along a cosine to a tenth of it (paper, B.4.2: 5e-5 to 5e-6), reached at the last update.

    Args:
        optimizer: Its rate is the peak.
        warmup: Share of the updates in which the rate rises linearly to the peak; the paper states none.
        floor: What the rate ends at, as a share of the peak.

    Raises:
        InputError: If a share is out of range.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.0, floor: float = 0.1) -> None:
        if not (0 <= warmup < 1 and 0 <= floor <= 1):
            raise InputError(f"CosineToTenth: warmup is {warmup} and floor {floor}; give shares from 0 to 1")
        self.warmup, self.floor = warmup, floor
        super().__init__(optimizer)

    def factor(self, update: int, total: int) -> float:
        """Linear to 1, then the cosine."""
        rising = math.ceil(self.warmup * total)
        if update < rising:
            return (update + 1) / (rising + 1)
        progress = (update - rising) / max(1, total - 1 - rising)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))

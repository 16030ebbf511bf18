"""What DataModules share that deal batches by number: a position for checkpoints, and loaders that start there."""

from abc import abstractmethod
from typing import Any

from lightning.pytorch import LightningDataModule

from r1lit.errors import InputError


class ResumableDataModule(LightningDataModule):
    """Deals batch k as a pure function of (data, settings, k), so that k is all that a resumed run needs.

    Subclasses say in :meth:`_dealing` what k means, and in ``data_keys`` which of its entries are hashes or counts of
    the data rather than settings.
    """

    data_keys: tuple[str, ...]
    data_name: str
    """What has changed if one of those differs, for the message."""

    def __init__(self) -> None:
        super().__init__()
        self._position = 0
        self._restored: dict[str, Any] | None = None

    @property
    def position(self) -> int:
        """Batches trained on so far, which is the index of the next one.

        With a Trainer it is the count of its finished ``training_step`` calls (of all epochs, and across resumes), not
        of batches fetched: within ``training_step`` it is the index of the batch under way, in ``on_train_batch_end``
        that of the next.
        """
        if self.trainer is None:
            return self._position
        # Lightning declares the tracker's base class, which has no such count.
        done: int = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        return done

    @property
    def measures(self) -> bool:
        """Whether there is anything to measure a trained model on."""
        return True

    @property
    @abstractmethod
    def _has_data(self) -> bool:
        """Whether there is anything to deal, and hence a position to store."""

    @abstractmethod
    def _dealing(self) -> dict[str, Any]:
        """How batches are dealt, and what of; plain values that can be compared."""

    def state_dict(self) -> dict[str, Any]:
        """The position, and what makes it meaningful."""
        return {"position": self.position, **self._dealing()} if self._has_data else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the position of a checkpoint; whether the data are still the same is checked when they are used."""
        self._position = state_dict["position"]
        self._restored = state_dict

    def _check_restored(self) -> None:
        if self._restored is None:
            return
        for key, now in self._dealing().items():
            if (then := self._restored[key]) != now:
                is_data = key in self.data_keys
                what = f"{self.data_name} changed" if is_data else f"data.{key} was {then} and is {now} now"
                raise InputError(f"cannot resume: {what} since the checkpoint; undo that, or start anew with init_from")


class ResumableLoader:
    """A loader that starts at its DataModule's position.

    Subclasses have a length, so that Lightning does not fetch a batch ahead. The state here tells Lightning that it can
    resume; the position itself is the DataModule's.
    """

    def __init__(self, data: ResumableDataModule) -> None:
        self.data = data

    def state_dict(self) -> dict[str, int]:
        """The DataModule's position."""
        return {"position": self.data.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to do: the position was restored with the DataModule and the Trainer."""

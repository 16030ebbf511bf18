"""How a run spreads over devices: FSDP2 as one line of configuration."""

from datetime import timedelta

from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch.distributed.constants import default_pg_timeout


class FSDP2Strategy(ModelParallelStrategy):
    """Fully sharded data parallelism (FSDP2) over all processes: ``--trainer.strategy fsdp2 --trainer.devices 8``.

    Lightning's parent is made for tensor parallelism and takes the number of nodes for the data-parallel size; here it
    is the number of processes. Unlike FSDP1 it also runs on CPUs (gloo) and can clip gradients by norm. The modules
    shard their policies in ``configure_model``.

    Args:
        save_distributed_checkpoint: Each rank writes its own shard; False gathers all on rank 0 into one file.
        process_group_backend: Such as ``gloo``; None picks one for the devices.
        timeout: How long a collective may wait.
    """

    def __init__(
        self,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
    ) -> None:
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=1,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        """Sets the data-parallel size to the number of processes."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()


# A class path on the command line would be taken for a name: a Trainer's strategy may be a string.
StrategyRegistry.register("fsdp2", FSDP2Strategy, description=FSDP2Strategy.__doc__ or "")

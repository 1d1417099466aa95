"""How much is measured."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    rounds: int
    stream_module: Path  # nginx's; the instance has nginx without it.
    load_seconds: int  # Of one run of wrk.
    flips: int  # Timed, of each variant and round.
    kills: int  # Of each variant.
    flips_under_load: int  # For each kind of load.
    idle_seconds: int
    service_counts: tuple[int, ...]
    starts: int  # Of each case.

    @staticmethod
    def thorough(rounds: int, stream_module: Path) -> "Settings":
        return Settings(rounds, stream_module, load_seconds=5, flips=50, kills=200, flips_under_load=1000, idle_seconds=30,
                        service_counts=(1, 10, 200, 1000), starts=10)

    @staticmethod
    def quick(rounds: int, stream_module: Path) -> "Settings":
        """To see that everything works; too few samples for figures that last."""
        return Settings(rounds, stream_module, load_seconds=2, flips=10, kills=10, flips_under_load=100, idle_seconds=10,
                        service_counts=(1, 10), starts=3)

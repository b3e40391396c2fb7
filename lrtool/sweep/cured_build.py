"""A user's factory whose workloads get cures."""

from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from lrtool.adapters import as_workload
from lrtool.memory.cures import Cure, apply_cures
from lrtool.memory.treatment import CureOptions
from lrtool.target import Factory
from lrtool.workload import Workload


class CuredBuild:
    """A user's factory whose workloads get cures; `how` are the lines that do the same, once it has built."""

    def __init__(self, factory: Factory, cures: Sequence[Cure], options: CureOptions | None = None) -> None:
        self._factory, self._cures = factory, cures
        self._options = options or CureOptions()
        self.how: tuple[str, ...] = ()

    def factory(self) -> Factory:
        """The factory that builds the cured workload. It raises CannotHelp where a cure has nothing to do."""
        build = self._factory.function

        @wraps(build)
        def cured(*arguments: Any, **named: Any) -> Workload:
            workload = as_workload(build(*arguments, **named), name=self._factory.name)
            treatment = apply_cures(workload, self._cures, self._options)
            self.how = treatment.how
            return treatment.workload

        return replace(self._factory, function=cured)

"""Where memory figures come from: the recorder is chosen, with its reason, and one trial's steps run under it."""

from dataclasses import dataclass

from lrtool.config import RecorderChoice
from lrtool.errors import UnavailableError, UsageError
from lrtool.memory.recorders.recording import Recording, RecordSettings
from lrtool.results import Recorder, is_measured
from lrtool.workload.devices import ACCELERATOR, is_accelerator, pick_device
from lrtool.workload.target import Factory


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A recorder and why it was taken."""

    recorder: Recorder
    reason: str


def choose_recorder(asked: RecorderChoice, *, device: str) -> Choice:
    """The recorder asked for; with "auto" cuda, else predicted, else cpu. Raises UnavailableError, UsageError."""
    is_to_measure = asked != "auto" and is_measured(asked)
    if is_to_measure and not device.startswith(("auto", ACCELERATOR)):
        raise UsageError(f"--recorder {asked} does not go with --device {device}", hint="leave --device out")
    try:
        pick_device(ACCELERATOR if is_to_measure and device == "auto" else device)
    except UnavailableError as error:
        error.hint = "leave --recorder and --device out: without a GPU the figures are predicted"
        raise
    if asked == "predicted":
        _refuse_untrusted()
    if asked != "auto":
        return Choice(recorder=asked, reason=f"--recorder {asked}")
    return _automatic(device)


def record(factory: Factory, settings: RecordSettings) -> Recording:
    """Build the workload and take its steps, recorded; whatever raises is part of the recording."""
    if is_measured(settings.recorder):
        from lrtool.memory.recorders.cuda import record_on_gpu

        return record_on_gpu(factory, settings)
    from lrtool.memory.recorders.predicted import record_traced

    return record_traced(factory, settings)


def _automatic(device: str) -> Choice:
    if is_accelerator(pick_device(device)):
        return Choice(recorder="cuda", reason="measured on this machine's GPU")
    missing = "no CUDA device here" if device == "auto" else f"--device {device}"
    obstacle = _why_not_predicted()
    if obstacle is None:
        return Choice(recorder="predicted", reason=missing)
    return Choice(recorder="cpu", reason=f"{missing}, and predictions are not to be trusted: {obstacle}")


def _why_not_predicted() -> str | None:
    """What speaks against a prediction; before one is made, a step with known requests is traced."""
    from lrtool.tracing.tracer.canary import send_canary

    return send_canary().reason


def _refuse_untrusted() -> None:
    obstacle = _why_not_predicted()
    if obstacle is not None:
        raise UnavailableError(f"nothing can be predicted here: {obstacle}", hint="take --recorder cpu")

"""The error tree: every failure a user can cause or meet, with its exit code.

A message says what failed, on which input, and what to do, in one line. Nothing else is
caught at the top of the program: any other exception is a bug and shows as one.

    LivePoseError          1
     ├ UsageError          2   wrong arguments
     │  └ DataError        2   a data set that cannot be read as asked
     ├ SourceError         3   the source could not be opened, or was lost for good
     ├ ModelError          4   no usable model
     │  └ EngineError      4   the engine cannot run here
     └ OutputError         5   output could not be written
"""


class LivePoseError(Exception):
    """Base of all errors livepose raises on purpose; `exit_code` is the process's."""

    exit_code = 1


class UsageError(LivePoseError):
    """The arguments make no sense together or hold a value that cannot be used."""

    exit_code = 2


class DataError(UsageError):
    """A data set, annotation or picture of it cannot be read."""


class SourceError(LivePoseError):
    """The source of frames could not be opened, or is lost for good."""

    exit_code = 3


class ModelError(LivePoseError):
    """The model is missing, is not a livepose model, or cannot be loaded."""

    exit_code = 4


class EngineError(ModelError):
    """The engine cannot run on this machine (missing package, no GPU, failed self-test)."""


class OutputError(LivePoseError):
    """An output could not be opened or written."""

    exit_code = 5


def first_line(error: BaseException) -> str:
    """What a library's error says, without the lines that follow."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

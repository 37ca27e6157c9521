"""The inference thread: takes a frame, finds the poses on it, hands both on together."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from livepose.capture import CaptureThread, Frame
from livepose.estimator import PoseEstimator
from livepose.pose import Pose

POLL_S = 0.1
JOIN_S = 0.9
"""Together with the capture thread's, the time an exit may take."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A frame and the poses that were computed from it.

    taken_s: `time.monotonic()` when the inference thread took the frame.
    inference_ms: from then until the poses were known.
    """

    frame: Frame
    poses: list[Pose]
    taken_s: float
    inference_ms: float


class InferenceThread:
    """Runs an estimator on a capture thread's frames, for one consumer.

    A frame is taken only when the last result has been picked up: a live frame is therefore
    the newest there is when work on it starts, and no result ever waits behind another. The
    estimator is made inside the thread, while the source opens, and closed there too.
    """

    def __init__(self, capture: CaptureThread, make: Callable[[], PoseEstimator]) -> None:
        self._capture = capture
        self._make = make
        self._changed = threading.Condition()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._stopping = False
        self._ended = False
        self._joined = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self.estimator: PoseEstimator | None = None
        """Set as soon as the model is loaded; to read facts from, not to call."""

    def start(self) -> None:
        """Load the model and begin, in the thread."""
        self._thread.start()

    def get(self, timeout_s: float, take: bool = True) -> Result | None:
        """The next result, each once; None when none came in time, and at the end (`ended`).

        Raises what ended this thread or the capture thread, after the results before it.
        With take=False (a paused view) a result is left where it is, and None is returned.
        """
        with self._changed:
            self._changed.wait_for(lambda: (take and self._result) or self._ended, timeout_s)
            if not take and self._result is not None:
                return None
            result, self._result = self._result, None
            self._changed.notify_all()
            if result is None and self._error is not None:
                raise self._error
            return result

    @property
    def ended(self) -> bool:
        """Whether no result will come any more."""
        with self._changed:
            return self._ended and self._result is None

    def stop(self) -> None:
        """End the thread and join it; repeatable. A result that waits is lost."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None and not self._joined:
            self._thread.join(JOIN_S)
            self._joined = True

    def _run(self) -> None:
        try:
            with self._make() as estimator:
                self.estimator = estimator
                self._work(estimator)
        except BaseException as error:
            # Kept for the consumer, whose `get` raises it with this thread's traceback.
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _work(self, estimator: PoseEstimator) -> None:
        while self._wait_until_free():
            frame = self._capture.get(POLL_S)
            if frame is None:
                if self._capture.status.state == "ended":
                    return
                continue
            taken_s = time.monotonic()
            # A picture of its own name has nothing to do with the one before.
            poses = (
                estimator.estimate(frame.image)
                if frame.name
                else estimator.track(frame.image, frame.time_s)
            )
            result = Result(frame, poses, taken_s, (time.monotonic() - taken_s) * 1e3)
            with self._changed:
                self._result = result
                self._changed.notify_all()

    def _wait_until_free(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._result is None or self._stopping)
            return not self._stopping

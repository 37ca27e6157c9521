"""Crops that torch cuts are those of `crops.cut` but for the last grey level; joints on a GPU."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from livepose import Pose, PoseEstimator, crops
from livepose.bench.stages import TimedEngine
from livepose.errors import EngineError
from livepose.estimator import paint_grey
from livepose.models import Model, find_model
from livepose.runtime import EngineInfo
from livepose.runtime.base import DEVICE_STAGES, device_ms, run_squares
from livepose.runtime.cut import Cutter, Levels, cut, worth_it
from livepose.runtime.torch import KEPT, LASTING, Bucket, TorchEngine
from livepose.synthetic import SyntheticScene
from livepose.track import SEEN

Array = np.ndarray
SIZES_WH = [(640, 480), (501, 333), (1919, 1079), (64, 48), (1280, 721)]


def random_squares(rng: np.random.Generator, size_wh: tuple[int, int]) -> Array:
    """As of boxes that are inside, over the edges, outside, tiny, and larger than the frame."""
    longer = max(size_wh)
    sides = np.concatenate(
        (
            rng.uniform(8, 300, 8),
            rng.uniform(0.2, 1.5, 8) * longer,
            [8, 9, longer, 2.5 * longer, 3.9 * longer],
        )
    )
    centres = rng.uniform(-0.3, 1.3, (len(sides), 2)) * size_wh
    reach = sides[:, None] * crops.FILL / 2
    boxes = np.concatenate((centres - reach, centres + reach), axis=1)
    far = [[-900, -900, -800, -800], [9e5, 0, 9e5 + 50, 50], [-5e6, -5e6, 5e6, 5e6]]
    return crops.squares_of(np.concatenate((boxes, far)).astype(np.float32))


def cut_here(frame: Array, squares: Array, size: int, grey: Array | None = None) -> Array | None:
    """By the torch function that a CUDA graph would hold; None where it leaves them to the CPU."""
    height, width = frame.shape[:2]
    levels = Levels(height, width, size)
    plan = levels.plan(squares)
    if plan is None:
        return None
    rows, columns = levels.shapes[0]
    # Halves that nobody made would be seen.
    pixels = np.full((levels.starts[-1], 3), 255, np.uint8)
    behind = pixels[: rows * columns].reshape(rows, columns, 3)
    behind[:] = 0
    behind[:height, :width] = frame
    if grey is None:
        grey = np.zeros((len(squares), size, size), np.uint8)
    given = (torch.from_numpy(array) for array in (pixels, plan, grey != 0))
    return cut(levels, *given).numpy()


@pytest.mark.parametrize("size_wh", SIZES_WH)
@pytest.mark.parametrize("size", [128, 192])
def test_crops_are_those_of_the_cpu(size_wh: tuple[int, int], size: int) -> None:
    rng = np.random.default_rng(size)
    frame = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    squares = random_squares(rng, size_wh)
    expected = crops.cut(frame, squares, size)
    answer = cut_here(frame, squares, size)
    assert answer is not None and answer.shape == expected.shape
    apart = np.abs(answer.astype(int) - expected)
    # OpenCV's weights are whole 2048ths, and its sums are cut off before they are rounded.
    assert apart.max() <= 1 and (apart > 0).mean() < 0.1


def test_grey_is_painted_and_rows_without_a_square_are_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (480, 640, 3), np.uint8)
    squares = np.array([[40, 160, 120], [200, 96, 320], [-64, 128, 296]])
    grey = (rng.random((3, 128, 128)) < 0.2).astype(np.uint8) * 9
    plain, painted = cut_here(frame, squares, 128), cut_here(frame, squares, 128, grey)
    frame[:96], frame[424:] = 0, 255
    assert plain is not None and np.array_equal(cut_here(frame, squares, 128), plain)
    assert np.array_equal(painted, np.where(grey[..., None] > 0, np.uint8(crops.GREY), plain))


@pytest.mark.parametrize("square", [[3, 4, 300], [4, 4, 301], [2, 2, 1200]])
def test_squares_that_are_no_blocks_are_left_to_the_cpu(square: list[int]) -> None:
    assert Levels(480, 640, 128).plan(np.array([[0, 0, 100], square])) is None


def drawn(size_wh: tuple[int, int], people: int) -> tuple[Array, list[Pose]]:
    frame, joints = SyntheticScene(size_wh, people=people, seed=1).render(3.0)
    poses = []
    for xy in joints[..., :2].astype(np.float32):
        box = np.concatenate((xy.min(axis=0), xy.max(axis=0)))
        poses.append(Pose(xy, np.ones(16, np.float32), box, 0.9))
    return frame, poses


def cross_out(crop: Array, square: Array, poses: list[Pose], width: float) -> None:
    joints = np.array([pose.joints_xy for pose in poses])
    crops.cross_out_all(crop, square, joints, np.array([p.scores for p in poses]) >= SEEN, width)


def test_the_mask_is_what_would_be_painted_on_the_crop_itself() -> None:
    frame, poses = drawn((640, 480), 4)
    squares = crops.squares_of(np.stack([pose.box_xyxy for pose in poses]))
    among = [None, *((pose, [other for other in poses if other is not pose]) for pose in poses[1:])]
    without = [[], [poses[0]], [], poses[:2]]
    grey = paint_grey(squares, 128, without, among)
    answer = crops.cut(frame, squares, 128, grey)
    expected = crops.cut(frame, squares, 128)
    for crop, square, near, out in zip(expected, squares, among, without, strict=True):
        whole, body = crop.copy(), np.zeros_like(crop)
        if near is not None:
            cross_out(crop, square, near[1], crops.CROSSED)
            cross_out(body, square, [near[0]], crops.STOUT)
            np.copyto(crop, whole, where=body > 0)
        if out:
            cross_out(crop, square, out, crops.CROSSED)
    assert np.array_equal(answer, expected)
    assert (answer != crops.cut(frame, squares, 128)).any(axis=(1, 2, 3)).sum() == 3
    assert paint_grey(squares, 128, [[], []], [None, (poses[0], [])]) is None
    assert paint_grey(squares, 128, (), ()) is None


class Cuts:
    """An engine that cuts crops itself: notes what it gets, and puts all joints in the middle."""

    info = EngineInfo("cuts", "nowhere", "fp32")

    def __init__(self) -> None:
        self.got: list[tuple[Array, Array, Array | None]] = []

    def warm_up(self) -> None: ...

    def run(self, crops: Array) -> Array:
        raise AssertionError("given crops")

    def run_squares(self, frame: Array, squares: Array, grey: Array | None) -> Array:
        self.got.append((frame, squares, grey))
        return np.full((len(squares), 16, 3), (63.5, 63.5, 0.5), np.float32)

    def close(self) -> None: ...


def test_an_engine_that_cuts_gets_the_frame_the_squares_and_the_mask() -> None:
    engine = Cuts()
    timed = TimedEngine(engine)
    frame, poses = drawn((640, 480), 2)
    boxes = np.stack([pose.box_xyxy for pose in poses])
    for given in (engine, timed):
        with PoseEstimator(find_model("small"), given) as estimator:
            answer, _ = estimator.estimate(frame, boxes)
            estimator._look(frame, boxes, [[poses[1]], []])
    squares = crops.squares_of(boxes)
    assert np.allclose(answer.joints_xy, squares[0, :2] + squares[0, 2] / 2 - 0.5)
    assert len(engine.got) == 4
    for i, (got_frame, got_squares, grey) in enumerate(engine.got):
        assert got_frame is frame and np.array_equal(got_squares, squares)
        assert (grey is None) == (i % 2 == 0)
        assert grey is None or (grey[0].any() and not grey[1].any())
    assert timed.all_ms > 0


def test_on_the_cpu_torch_gets_crops() -> None:
    with PoseEstimator("small", "torch", "cpu") as estimator:
        assert estimator.engine.run_squares is None  # type: ignore[attr-defined]
        assert TimedEngine(estimator.engine).run_squares is None


class Eager:
    """In place of a CUDA graph: does the work when it is replayed."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.replay = work


class Cuda:
    """Patches that make of a torch engine on the CPU one that takes the way of CUDA."""

    class Event:
        def record(self) -> None: ...

        def elapsed_time(self, other: object) -> float:
            return 0.1

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("device", "stream"):
            patch.setattr(torch.cuda, name, lambda given: nullcontext())
        patch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
        patch.setattr(TorchEngine, "_capture", self.bucket)
        patch.setattr(Cutter, "_capture", self.graph)

    def open(self, model: Model) -> TorchEngine:
        opened = TorchEngine(model, "cpu")
        opened._stream = SimpleNamespace(synchronize=lambda: None)  # type: ignore[assignment]
        opened._events = [self.Event() for _ in range(4)]  # type: ignore[misc]
        return opened

    @staticmethod
    def bucket(engine: TorchEngine, count: int) -> Bucket:
        here, there = torch.zeros((2, count, engine._size, engine._size, 3), dtype=torch.uint8)
        joints = engine._forward(there)
        graph = Eager(lambda: joints.copy_(engine._forward(there)))
        return Bucket(graph, there, joints, here, torch.zeros_like(joints))  # type: ignore[arg-type]

    @staticmethod
    def graph(cutter: Cutter, crops: torch.Tensor, pool: object) -> Eager:
        inputs = cutter._plan[: len(crops)], cutter._grey[: len(crops)]
        return Eager(lambda: crops.copy_(cut(cutter.levels, cutter._pixels, *inputs)))


Open = Callable[[Model], TorchEngine]


@pytest.fixture(scope="module", params=["cuda", "doubles"])
def open_torch(request: pytest.FixtureRequest) -> Iterator[Open]:
    """On a GPU, or the same way on the CPU, with doubles for CUDA."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA GPU here")
        yield lambda model: TorchEngine(model, "cuda")
    else:
        with pytest.MonkeyPatch.context() as patch:
            yield Cuda(patch).open


@pytest.fixture(scope="module")
def engine(open_torch: Open) -> Iterator[TorchEngine]:
    opened = open_torch(find_model("base" if torch.cuda.is_available() else "small"))
    opened.warm_up()
    yield opened
    opened.close()


def crowd(size_wh: tuple[int, int], count: int) -> tuple[Array, Array, Array]:
    """A drawn frame, squares around its four people over and over, and a mask."""
    frame, poses = drawn(size_wh, 4)
    poses = [poses[i % 4] for i in range(count)]
    squares = crops.squares_of(np.stack([pose.box_xyxy for pose in poses]))
    grey = np.zeros((count, 128, 128), np.uint8)
    grey[::3, 40:60, 30:90] = 1
    return frame, squares, grey


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut on the GPU, worth it or not."""
    monkeypatch.setattr("livepose.runtime.torch.worth_it", lambda *given: True)


def last(engine: TorchEngine, frame: Array, squares: Array, grey: Array | None) -> Array:
    """The joints once frames of this shape have graphs."""
    for _ in range(LASTING):
        joints = run_squares(engine, frame, squares, 128, grey)
    return joints


def test_squares_that_show_less_than_is_uploaded_are_cut_on_the_cpu() -> None:
    frame_hw = (480, 640)
    for squares, worth in (
        ([[80, 0, 480]], False),
        ([[80, 0, 480], [160, 0, 480]], True),
        ([[0, 0, 100], [500, 380, 100]], False),  # far apart: nearly all rows
        ([[0, 0, 700]], False),  # what is outside the frame does not count
        ([[700, 0, 100], [0, 600, 100]], False),  # nothing of the frame
    ):
        assert worth_it(np.array(squares), frame_hw) == worth


@pytest.mark.parametrize(("count", "painted"), [(1, False), (4, True), (8, False), (11, True)])
@pytest.mark.usefixtures("always")
def test_joints_of_crops_cut_on_the_gpu(engine: TorchEngine, count: int, painted: bool) -> None:
    for size_wh in ((640, 480), (501, 333), (640, 480)):
        frame, squares, mask = crowd(size_wh, count)
        grey = mask if painted else None
        joints = last(engine, frame, squares, grey)
        assert engine._cutters[size_wh[::-1]] is not None
        assert engine.run_squares is not None
        assert engine.run_squares(frame, squares, grey) is not None
        assert list(device_ms(engine)) == list(DEVICE_STAGES)
        assert all(ms > 0 for ms in device_ms(engine).values())
        wanted = crops.cut(frame, squares, 128, grey)
        # Those of the last part, still where the network took them from.
        rest = (count - 1) % 8 + 1
        there = engine._bucket(rest).crops[:rest].cpu().numpy()
        assert np.abs(there.astype(int) - wanted[-rest:]).max() <= 1
        expected = engine.run(wanted)
        assert joints.shape == expected.shape and joints.dtype == np.float32
        surely = expected[..., 2] >= 0.3
        assert surely.mean() > 0.3
        apart = np.abs(joints - expected)
        assert apart[surely, :2].max() <= 1
        # In half precision on a GPU a grey level more or less made 0.022.
        assert apart[..., 2].max() <= 0.05


@pytest.mark.usefixtures("always")
def test_every_look_is_at_its_own_frame_and_mask(engine: TorchEngine) -> None:
    frame, squares, grey = crowd((640, 480), 3)
    plain = last(engine, frame, squares, None)
    other = last(engine, frame[:, ::-1], squares, grey)
    assert np.abs(other - plain)[..., :2].max() > 3
    assert np.allclose(last(engine, frame, squares, None), plain, atol=1e-3)


@pytest.mark.usefixtures("always")
def test_rows_are_those_of_the_frame_and_the_squares_at_hand(engine: TorchEngine) -> None:
    rng = np.random.default_rng(4)
    for top in (0, 40, 220, 7, 350, 0):
        frame = rng.integers(0, 256, (480, 640, 3), np.uint8)
        squares = np.array([[30, top, 130], [300, top + 20, 130]])
        last(engine, frame, squares, None)
        there = engine._bucket(2).crops.cpu().numpy()
        assert np.abs(there.astype(int) - crops.cut(frame, squares, 128)).max() <= 1


@pytest.mark.usefixtures("always")
def test_few_shapes_are_kept_and_what_does_not_last_is_cut_on_the_cpu(engine: TorchEngine) -> None:
    for width in range(100, 100 + 2 * KEPT):
        frame, squares, _ = crowd((width, 90), 1)
        run_squares(engine, frame, squares, 128)
        assert (90, width) not in engine._cutters
        last(engine, frame, squares, None)
        assert (90, width) in engine._cutters
    assert len(engine._cutters) == KEPT
    odd = np.array([[3, 3, 301]])  # no block of any level
    frame, _, _ = crowd((640, 480), 1)
    assert np.allclose(
        last(engine, frame, odd, None), engine.run(crops.cut(frame, odd, 128)), atol=1e-3
    )
    assert engine.run_squares is not None
    assert engine.run_squares(frame, odd, None) is None


def test_few_pixels_are_left_to_the_cpu_and_need_no_graphs(engine: TorchEngine) -> None:
    frame, squares, _ = crowd((320, 240), 1)
    last(engine, frame, squares, None)
    assert (240, 320) not in engine._cutters
    last(engine, frame, np.repeat(squares, 8, axis=0), None)
    assert (240, 320) in engine._cutters


@pytest.mark.usefixtures("always")
def test_without_memory_for_it_crops_are_cut_on_the_cpu(
    open_torch: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail(*given: object) -> None:
        tried.append(given)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("livepose.runtime.torch.Cutter", fail)
    engine = open_torch(find_model("small"))
    frame, squares, _ = crowd((320, 240), 2)
    for _ in range(2):
        joints = last(engine, frame, squares, None)
        assert np.allclose(joints, engine.run(crops.cut(frame, squares, 128)), atol=1e-3)
    assert len(tried) == 1
    engine.close()


def test_a_closed_engine_says_so(open_torch: Open) -> None:
    closed = open_torch(find_model("small"))
    frame, squares, _ = crowd((640, 480), 1)
    last(closed, frame, squares, None)
    closed.close()
    closed.close()
    with pytest.raises(EngineError, match="closed"):
        run_squares(closed, frame, squares, 128)

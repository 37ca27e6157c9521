"""What is behind the figures: a room, or whatever a training picture may show."""

import cv2
import numpy as np

from livepose.synthetic.paint import F32, U8

Rng = np.random.Generator


def colour(rng: Rng, low: float = 20, high: float = 235) -> tuple[float, float, float]:
    """A BGR colour, 0..255, seldom a loud one."""
    grey = rng.uniform(low, high)
    tint = rng.normal(0, rng.choice([6, 16, 45], p=[0.4, 0.4, 0.2]), 3)
    blue, green, red = np.clip(grey + tint, low, high).tolist()
    return blue, green, red


def clouds(rng: Rng, size_wh: tuple[int, int], cells: int) -> F32:
    """Smooth noise of about -1..1, float32 [H, W], with about `cells` blobs across."""
    width, height = size_wh
    shape = max(2, round(cells * height / max(width, 1))), max(cells, 2)
    coarse = rng.standard_normal(shape, dtype=np.float32)
    return cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def room(rng: Rng, size_wh: tuple[int, int], floor_y: float) -> U8:
    """A room with a wall, a floor from floor_y (pixels) down, a window, pictures and furniture."""
    width, height = size_wh
    unit = min(height, 1.3 * width)
    picture = np.empty((height, width, 3), np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    base = rng.uniform(140, 205)
    wall = np.array(base + rng.normal(0, 12, 3), np.float32)
    picture[:] = wall * (1.05 - 0.22 * down - 0.2 * np.abs(across - rng.uniform(0.2, 0.6)))
    picture *= 1 + 0.012 * clouds(rng, size_wh, 60)[..., None]
    floor = int(np.clip(floor_y, 0, height))
    if floor < height:
        _floor(rng, picture, floor)
        skirting = max(1, int(0.022 * unit))
        picture[max(floor - skirting, 0) : floor] = np.minimum(wall * 1.18, 240)
        picture[max(floor - 1, 0) : floor] *= 0.6
    _window(rng, picture, floor, unit)
    _furniture(rng, picture, floor, unit)
    y, x = down - 0.5, across - 0.5
    picture *= 1.04 - 0.55 * (x * x + y * y)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _floor(rng: Rng, picture: F32, top: int) -> None:
    """Boards that run towards the camera."""
    height, width = picture.shape[:2]
    wood = np.array([0.5, 0.72, 1.0], np.float32) ** rng.uniform(0.4, 1.2) * rng.uniform(110, 180)
    y = np.arange(top, height, dtype=np.float32)[:, None]
    near = (y - top) / height + 0.16
    lane = (np.arange(width, dtype=np.float32)[None] - width / 2) / (near * width) * 2.2
    board = np.floor(lane + 100).astype(int) % 64
    tone = rng.uniform(0.88, 1.08, 64).astype(np.float32)[board]
    tone *= np.where(np.abs(lane - np.round(lane)) < 0.03, 0.8, 1).astype(np.float32)
    grain = clouds(rng, (width, len(y)), 90)
    picture[top:] = wood * ((tone + 0.02 * grain) * (0.8 + 0.6 * near))[..., None]


def _panel(picture: F32, xywh: tuple[float, float, float, float], tone: tuple[float, ...]) -> None:
    """A filled upright rectangle."""
    x, y, w, h = (int(v) for v in xywh)
    cv2.rectangle(picture, (x, y), (x + max(w, 1), y + max(h, 1)), tone, -1, cv2.LINE_AA)


def _window(rng: Rng, picture: F32, floor: int, unit: float) -> None:
    """A window with a view on one side, framed pictures on the other."""
    width = picture.shape[1]
    left = rng.random() < 0.5
    w, h = 0.3 * unit, 0.42 * unit
    x = 0.04 * width if left else 0.96 * width - w
    y = max(0.08 * unit, floor - 0.8 * unit)
    bar = max(1.0, 0.012 * unit)
    _panel(picture, (x - bar, y - bar, w + 2 * bar, h + 2 * bar), (226, 230, 232))
    view = picture[int(y) : int(y + h), max(int(x), 0) : max(int(x + w), 0)]
    if view.size:
        sky = np.linspace(0, 1, view.shape[0], dtype=np.float32)[:, None, None]
        view[:] = np.array([250, 238, 222]) * (1 - 0.12 * sky)
        hills = clouds(rng, (view.shape[1], 2), 5)[:1, :, None] * 0.08
        trees = sky + hills + 0.02 * clouds(rng, view.shape[1::-1], 14)[..., None] > 0.62
        view[:] = np.where(trees, np.array([120, 160, 132], np.float32) * (1.2 - 0.3 * sky), view)
    _panel(picture, (x + w / 2 - bar / 2, y, bar, h), (226, 230, 232))
    _panel(picture, (x, y + h * 0.45, w, bar), (226, 230, 232))
    _panel(picture, (x - 3 * bar, y + h + bar, w + 6 * bar, 2 * bar), (206, 210, 212))
    for i in range(int(rng.integers(1, 4))):
        fw, fh = rng.uniform(0.1, 0.17, 2) * unit
        fx = (0.97 * width - (i + 1) * 0.2 * unit) if left else (0.03 * width + i * 0.2 * unit)
        fy = y + rng.uniform(0, 0.12) * unit
        _panel(picture, (fx, fy, fw, fh), colour(rng, 30, 90))
        _panel(picture, (fx + bar, fy + bar, fw - 2 * bar, fh - 2 * bar), (228, 232, 234))
        for _ in range(3):
            centre = int(fx + fw * rng.uniform(0.3, 0.7)), int(fy + fh * rng.uniform(0.3, 0.7))
            radius = max(1, int(fw * rng.uniform(0.08, 0.2)))
            cv2.circle(picture, centre, radius, colour(rng, 60, 210), -1, cv2.LINE_AA)


def _furniture(rng: Rng, picture: F32, floor: int, unit: float) -> None:
    """A sideboard at the wall and a plant beside it."""
    width = picture.shape[1]
    w, h = rng.uniform(0.35, 0.5) * unit, rng.uniform(0.2, 0.27) * unit
    left = rng.random() < 0.5
    x, y = (-0.08 * unit if left else width - w + 0.08 * unit), floor - h + 0.02 * unit
    tone = np.array([0.72, 0.86, 1.0]) ** rng.uniform(-0.3, 2) * rng.uniform(70, 200)
    _panel(picture, (x, y, w, h), tuple(tone))
    for i in range(3):
        door = x + i * w / 3 + 0.01 * unit, y + 0.03 * unit, w / 3 - 0.02 * unit, h - 0.05 * unit
        _panel(picture, door, tuple(tone * 0.9))
    _panel(picture, (x - 0.01 * unit, y, w + 0.02 * unit, 0.02 * unit), tuple(tone * 1.15))
    pot = (x + w + 0.09 * unit) if left else (x - 0.09 * unit)
    for _ in range(26):
        angle, length = rng.uniform(-1.3, 1.3), rng.uniform(0.1, 0.26) * unit
        tip = np.array([pot + np.sin(angle) * length, floor - 0.1 * unit - np.cos(angle) * length])
        root = np.array([pot, floor - 0.08 * unit])
        middle, green = (tip + root) / 2, rng.uniform(60, 130)
        axes = max(1, int(length / 2)), max(1, int(0.014 * unit))
        turn = float(np.degrees(np.arctan2(*(tip - root)[::-1])))
        cv2.ellipse(
            picture,
            tuple(middle.astype(int).tolist()),
            axes,
            turn,
            0,
            360,
            (green * 0.5, green, green * 0.55),
            -1,
            cv2.LINE_AA,
        )
    _panel(
        picture, (pot - 0.045 * unit, floor - 0.1 * unit, 0.09 * unit, 0.11 * unit), (88, 112, 168)
    )


def anything(rng: Rng, size_wh: tuple[int, int]) -> U8:
    """A background of any kind, uint8 [H, W, 3]: surfaces, shapes and noise at all sizes."""
    width, height = size_wh
    kind = rng.random()
    if kind < 0.2:
        return room(rng, size_wh, rng.uniform(0.6, 1.1) * height)
    ends = np.array([[colour(rng), colour(rng)], [colour(rng), colour(rng)]], np.float32)
    picture: F32 = cv2.resize(ends, size_wh, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    for cells in rng.choice([3, 7, 16, 40, 90], 3, replace=False):
        picture += clouds(rng, size_wh, int(cells))[..., None] * np.float32(
            12 * rng.random() ** 2 + 1
        )
    if kind < 0.8:
        _shapes(rng, picture)
    if rng.random() < 0.5:
        sigma = rng.uniform(0.6, 0.012 * max(width, 80))
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)  # type: ignore[assignment]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _shapes(rng: Rng, picture: F32) -> None:
    """Polygons, discs, bars and posts of all sizes; some are as long and round as limbs."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(3, 26))):
        x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
        size = float(width * 0.35 * rng.random() ** 1.6 + 3)
        pick = rng.random()
        if pick < 0.35:
            corners = (rng.uniform(-size, size, (int(rng.integers(3, 7)), 2)) + [x, y]).astype(int)
            cv2.fillPoly(picture, [corners], colour(rng), cv2.LINE_AA)
        elif pick < 0.6:
            _panel(picture, (x, y, size * rng.uniform(0.1, 2), size), colour(rng))
        elif pick < 0.75:
            cv2.circle(picture, (int(x), int(y)), int(size * 0.5), colour(rng), -1, cv2.LINE_AA)
        else:
            end = (np.array([x, y]) + rng.uniform(-2, 2, 2) * size).astype(int).tolist()
            thick = max(1, int(size * rng.uniform(0.05, 0.35)))
            cv2.line(picture, (int(x), int(y)), tuple(end), colour(rng), thick, cv2.LINE_AA)

"""Brings one dressed body into a picture: camera, face and patterns on the cloth, light, edges."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from livepose.synthetic.body import OUT, Body, Vec, unit
from livepose.synthetic.figure import (
    BOTTOM,
    BROW_TOP,
    CAP,
    FACE,
    HAIR,
    HAIRLINE,
    SHIRT,
    SHOE,
    SKIN,
    Colour,
    Look,
    Solids,
    solids_of,
)
from livepose.synthetic.paint import EMPTY, F32, U8, Light, Solid, compose, shade, stamp


@dataclass(frozen=True)
class Camera:
    """Where a figure's origin comes to lie, and how large a metre there is.

    origin_xy: pixels; metre_px: pixels a metre at the origin's depth; distance_m: origin to camera;
    eye_xy: the picture's centre of perspective, pixels.
    """

    origin_xy: tuple[float, float]
    metre_px: float
    distance_m: float = 4.0
    eye_xy: tuple[float, float] = (0.0, 0.0)

    def scale(self, points: Vec) -> Vec:
        """Pixels a metre at those points [..., 3] in metres -> [...]."""
        nearness: Vec = self.distance_m / np.maximum(self.distance_m - points[..., 2], 0.3)
        return self.metre_px * nearness

    def project(self, points: Vec) -> Vec:
        """Points [..., 3] in metres from the origin -> [..., 3]: x, y, depth in pixels."""
        near = self.scale(points) / self.metre_px
        ox, oy = self.origin_xy[0] - self.eye_xy[0], self.origin_xy[1] - self.eye_xy[1]
        x = self.eye_xy[0] + near * (ox + self.metre_px * points[..., 0])
        y = self.eye_xy[1] + near * (oy - self.metre_px * points[..., 1])
        return np.stack([x, y, self.metre_px * points[..., 2]], -1)

    def into(self, x0: int, y0: int, factor: float) -> "Camera":
        """The same view in a buffer with `factor` pixels a pixel, which begins at x0, y0."""

        def move(xy: tuple[float, float]) -> tuple[float, float]:
            return (xy[0] + 0.5 - x0) * factor - 0.5, (xy[1] + 0.5 - y0) * factor - 0.5

        return Camera(
            move(self.origin_xy), self.metre_px * factor, self.distance_m, move(self.eye_xy)
        )


def face(
    albedo: U8,
    depth: F32,
    ids: U8,
    solids: Solids,
    body: Body,
    look: Look,
    centre: Vec,
    metre_px: float,
) -> None:
    """Paints eyes, brows, mouth, hairline and beard on the head's solids, in place.

    centre: the upper neck in the buffers' pixels [3]; metre_px: pixels a metre there.
    """
    size = 1.04 * body.build.height**0.6
    reach = 0.27 * size * metre_px
    height, width = depth.shape
    x0, x1 = max(int(centre[0] - reach), 0), min(int(centre[0] + reach), width)
    y0, y1 = max(int(centre[1] - reach), 0), min(int(centre[1] + reach), height)
    if x0 >= x1 or y0 >= y1:
        return
    skin = np.array([m == FACE for m in solids.material] + [False])[ids[y0:y1, x0:x1]]
    rows, columns = np.nonzero(skin & (depth[y0:y1, x0:x1] > EMPTY / 2))
    rows, columns = rows + y0, columns + x0
    seen = np.stack([columns - centre[0], centre[1] - rows, depth[rows, columns] - centre[2]], -1)
    x, y, z = ((seen @ body.head) / (metre_px * size)).T.astype(np.float32)
    colour = albedo[rows, columns].astype(np.float32)
    edge = max(0.7 / (metre_px * size), 0.0015)

    def blend(inside_m: F32, value: Colour, most: float = 1.0) -> None:
        share = np.clip(inside_m / edge + 0.5, 0, 1)[:, None] * most
        colour[:] += share * (np.array(value, np.float32) - colour)

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> F32:
        front = np.where(z > 0.03, 1, -1) * np.float32(min(rx, ry))
        far = np.sqrt(np.square((x - cx) / rx) + np.square((y - cy) / ry))
        result: F32 = np.minimum(front, (1 - far) * min(rx, ry)).astype(np.float32)
        return result

    skin_tone = np.array(look.skin)
    for out in OUT:
        blend(ellipse(out * 0.031, 0.113, 0.02, 0.013), tuple(skin_tone * 0.72), 0.55)
        blend(ellipse(out * 0.031, 0.112, 0.0145, 0.0068), (226, 230, 232))
        blend(ellipse(out * 0.031, 0.112, 0.006, 0.0062), (35, 40, 48))
        blend(ellipse(out * 0.031, 0.131, 0.019, 0.0045), tuple(0.7 * np.array(look.hair)), 0.85)
    if look.beard:
        blend(np.minimum(0.075 - y, z + 0.01), look.hair, 0.75)
    blend(ellipse(0, 0.047, 0.025, 0.0075), tuple(skin_tone * (0.72, 0.62, 0.85)))
    blend(ellipse(0, 0.048, 0.023, 0.0016), tuple(skin_tone * 0.35))
    for out in OUT:
        blend(ellipse(out * 0.007, 0.067, 0.0042, 0.003), tuple(skin_tone * 0.45))
        if look.glasses:
            far = np.hypot((x - out * 0.033) / 1.15, y - 0.112)
            blend(np.where(z > 0.02, 0.0032 - np.abs(far - 0.022), -1), (28, 26, 26))
    if look.hair_style != "none":
        beyond = (y - BROW_TOP[1]) * HAIRLINE[1] + (z - BROW_TOP[2]) * HAIRLINE[2]
        ear = np.abs(x) > 0.07
        blend(np.where(ear, -1, beyond).astype(np.float32), look.hair)
    albedo[rows, columns] = np.clip(colour, 0, 255)


def weave(
    albedo: U8,
    depth: F32,
    ids: U8,
    solids: Solids,
    starts: Vec,
    body: Body,
    look: Look,
    metre_px: float,
) -> None:
    """Paints stripes, checks or a print on the shirt, and what is worn before it, in place.

    starts: [n, 3], where the pattern starts on each solid, in the buffers' pixels.
    """
    flip = np.array([1.0, -1.0, 1.0])
    shirt = np.array([m == SHIRT for m in solids.material])
    rows, columns = np.nonzero(shirt[ids] & (depth > EMPTY / 2))
    which = ids[rows, columns]
    fall = -body.chest[:, 1]
    along = np.array([fall if g is None else unit(g[1]) for g in solids.grains]) * flip / metre_px
    trunk = np.array([g is None for g in solids.grains])[which]
    seen = np.stack([columns, rows, depth[rows, columns]], -1) - starts[which]
    u = np.einsum("ij,ij->i", seen, along[which])
    v = seen @ (body.chest[:, 0] * flip) / metre_px
    front = trunk & (seen @ (body.chest[:, 2] * flip) > 0)
    if look.pattern == "stripes":
        chosen = np.mod(u, 0.08) < 0.035
    elif look.pattern == "checks":
        chosen = (np.mod(u, 0.1) < 0.05) ^ (np.mod(v, 0.1) < 0.05)
    elif look.pattern == "print":
        chosen = front & (np.hypot(v / 0.09, (u - 0.2) / 0.075) < 1)
    elif look.pattern == "halves":
        chosen = trunk & (u > 0.21)
    else:
        chosen = np.zeros(len(rows), bool)
    albedo[rows[chosen], columns[chosen]] = look.second
    if look.worn == "lanyard":
        low = 0.15 + 0.2 * look.hem
        chosen = front & (np.abs(np.abs(v) - 0.085 * np.maximum(1 - u / low, 0)) < 0.008)
        chosen &= u < low + 0.03
        card = front & (np.abs(v) < 0.035) & (np.abs(u - low - 0.08) < 0.05)
        albedo[rows[card], columns[card]] = (232, 232, 228)
    elif look.worn == "tie":
        chosen = front & (np.abs(v) < 0.016 + 0.05 * np.maximum(u, 0)) & (u < 0.42)
    elif look.worn == "zip":
        chosen = front & (np.abs(v) < 0.006)
    else:
        return
    albedo[rows[chosen], columns[chosen]] = look.trousers


def smooth(depth: F32, where: U8, metre_px: float) -> None:
    """Evens the depth out there (uint8 [h, w], 0 or 255), in place, as cloth bridges hollows."""
    size = max(int(0.05 * metre_px) | 1, 3)
    share = where * np.float32(1 / 255)
    even = cv2.copyTo(depth, where)
    for _ in range(2):
        even, share = cv2.blur(even, (size, size)), cv2.blur(share, (size, size))
    cv2.copyTo(even / np.maximum(share, np.float32(1e-3)), where, depth)


def _folds() -> F32:
    """Creases of cloth as heights of about -1..1, float32 [1024, 1024], the same every 256."""
    rng = np.random.default_rng(5)
    height = np.zeros((256, 256), np.float32)
    for size, share in ((10, 0.5), (22, 0.35), (48, 0.2)):
        coarse = rng.standard_normal((size // 2, size)).astype(np.float32)
        wrapped = np.pad(coarse, 2, mode="wrap")
        step = 256 / np.array(coarse.shape)
        grown = cv2.resize(wrapped, None, fx=step[1], fy=step[0], interpolation=cv2.INTER_CUBIC)
        y, x = (2 * step).astype(int)
        height += np.float32(share) * (1 - 2 * np.abs(grown[y : y + 256, x : x + 256]))
    return np.tile(height, (4, 4))


FOLDS: Final = _folds()


def crease(depth: F32, ids: U8, cloth: U8, look: Look, anchor: Vec, metre_px: float) -> F32:
    """The depth with folds in the cloth. cloth: uint8 [256], 1 where that id folds."""
    height, width = depth.shape
    step = 300 / metre_px
    offset = np.mod(np.array(look.fold_offset) - step * anchor[:2], 256)
    move = np.array([[step, 0, offset[0]], [0, step, offset[1]]])
    folds = cv2.warpAffine(
        FOLDS,
        move,
        (width, height),
        borderMode=cv2.BORDER_REFLECT,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    height_px = cloth.astype(np.float32) * np.float32(0.0024 * look.folds * metre_px)
    return cv2.add(depth, cv2.multiply(folds, cv2.LUT(ids, height_px)))  # type: ignore[return-value]


def oversampling(height_px: float) -> float:
    """Buffer pixels a picture pixel: small figures are drawn larger, very large ones smaller."""
    for limit, factor in ((230, 2.0), (480, 1.5), (1100, 1.0)):
        if height_px < limit:
            return factor
    return 0.5


COLOUR_OF: Final = {
    SKIN: "skin",
    FACE: "skin",
    HAIR: "hair",
    SHIRT: "shirt",
    BOTTOM: "trousers",
    SHOE: "shoes",
    CAP: "second",
}


def paint_body(
    size_wh: tuple[int, int], body: Body, look: Look, camera: Camera, light: Light
) -> tuple[U8, U8]:
    """One person on black: uint8 [h, w, 3] BGR, and the mask uint8 [h, w], 0 or 255."""
    solids = solids_of(body, look)
    flip = np.array([1.0, -1.0, 1.0])
    metre_px = camera.metre_px
    ends = camera.project(np.array(solids.ends))
    radii = np.array(solids.radii) * camera.scale(np.array(solids.ends))
    depth = np.full(size_wh[::-1], EMPTY, np.float32)
    ids = np.zeros(size_wh[::-1], np.uint8)
    for i, (a, b) in enumerate(ends):
        cut = solids.cuts[i]
        plane = None if cut is None else (camera.project(cut[0]), cut[1] * flip)
        solid = Solid(a, b, radii[i, 0], radii[i, 1], solids.soft[i] * metre_px, plane)
        stamp(depth, ids, solid, i)
    palette = np.zeros((256, 1, 3), np.uint8)
    cloth, trunk = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    for i, material in enumerate(solids.material):
        palette[i] = np.clip(getattr(look, COLOUR_OF[material]), 0, 255)
        cloth[i] = material in (SHIRT, BOTTOM)
        trunk[i] = 255 * (material == SHIRT and solids.grains[i] is None)
    albedo: U8 = cv2.applyColorMap(ids, palette)  # type: ignore[assignment]
    if look.pattern != "plain" or look.worn != "nothing":
        thorax = body.joints[7]
        starts = np.array([thorax if g is None else g[0] for g in solids.grains])
        weave(albedo, depth, ids, solids, camera.project(starts), body, look, metre_px)
    neck = camera.project(body.joints[8])
    face(albedo, depth, ids, solids, body, look, neck, float(camera.scale(body.joints[8])))
    mask = (depth > EMPTY / 2).astype(np.uint8) * np.uint8(255)
    smooth(depth, cv2.LUT(ids, trunk) & mask, metre_px)
    creased = crease(depth, ids, cloth, look, camera.project(np.zeros(3)), metre_px)
    return shade(albedo, creased, mask, light, metre_px), mask


def draw_figure(picture: U8, body: Body, look: Look, camera: Camera, light: Light) -> F32:
    """Paints a person into the picture (uint8 [H, W, 3] BGR), in place.

    Answers joints float32 [16, 3]: x, y in pixels and 1 in the picture or 0 out of it.
    """
    joints = camera.project(body.joints)
    height, width = picture.shape[:2]
    reach = 0.22 * camera.scale(body.joints)[:, None]
    low, high = (joints[:, :2] - reach).min(0), (joints[:, :2] + reach).max(0)
    # Even corners and sizes, so that every oversampling gives whole buffer pixels.
    x0, y0 = (2 * int(v // 2) for v in np.clip(low, -8, (width, height)))
    x1, y1 = (2 * int(v // 2 + 1) for v in np.clip(high, 0, (width + 8, height + 8)))
    if x1 > x0 and y1 > y0:
        factor = oversampling(1.75 * camera.metre_px)
        inner = camera.into(x0, y0, factor)
        inner_wh = int((x1 - x0) * factor), int((y1 - y0) * factor)
        patch, mask = paint_body(inner_wh, body, look, inner, light)
        compose(picture, patch, mask, (x0, y0), (x1 - x0, y1 - y0))
    x, y = joints[:, 0], joints[:, 1]
    within = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    return np.stack([x, y, within], -1).astype(np.float32)

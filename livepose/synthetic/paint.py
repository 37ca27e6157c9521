"""Draws solids: tapered capsules into a depth buffer, then light over the whole of it at once.

The capsules run into one another softly, which is what makes limbs and a trunk of them. Knows
nothing of people; `figure.py` says which solids, colours and details there are.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

EMPTY: Final = np.float32(-1e5)
"""Depth where there is nothing."""


@dataclass(frozen=True)
class Solid:
    """A capsule from a to b, pixels: x right, y down, z towards the camera.

    ra, rb: radii at both ends. soft: how far (in depth) it runs into what it touches.
    cut: None or (point [3], normal [3]): what lies beyond the plane is left out.
    """

    a: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    ra: float
    rb: float
    soft: float
    cut: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None


def stamp(depth: F32, ids: U8, solid: Solid, ident: int) -> None:
    """Adds one solid to depth and ids [H, W] where it is nearest; ids gets `ident`."""
    (ax, ay, az), (bx, by, bz) = solid.a.tolist(), solid.b.tolist()
    ra, rb = max(solid.ra, 0.3), max(solid.rb, 0.3)
    height, width = depth.shape
    x0, x1 = max(int(min(ax - ra, bx - rb)), 0), min(int(max(ax + ra, bx + rb)) + 2, width)
    y0, y1 = max(int(min(ay - ra, by - rb)), 0), min(int(max(ay + ra, by + rb)) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return
    length = max(float(np.hypot(bx - ax, by - ay)), 1e-3)
    ex, ey, slope = (bx - ax) / length, (by - ay) / length, (bz - az) / length
    # On a capsule leaning to the camera, the surface seen at u belongs to the axis at u + lean * R.
    lean = slope / float(np.sqrt(1 + slope * slope))
    x = np.arange(x0, x1, dtype=np.float32) - np.float32(ax)
    y = (np.arange(y0, y1, dtype=np.float32) - np.float32(ay))[:, None]
    along = x * np.float32(ex) + y * np.float32(ey)
    across = y * np.float32(ex) - x * np.float32(ey)
    radius = along + np.float32(lean * min(ra, rb))
    np.clip(radius, 0, length, out=radius)
    radius *= np.float32((rb - ra) / length)
    radius += np.float32(ra)
    np.square(radius, out=radius)
    np.square(across, out=across)
    radius -= across
    axis = np.sqrt(np.maximum(radius, 0, out=across))
    axis *= np.float32(lean)
    axis += along
    np.clip(axis, 0, length, out=axis)
    along -= axis
    np.square(along, out=along)
    radius -= along
    axis *= np.float32(slope)
    axis += np.float32(az)
    axis += np.sqrt(np.maximum(radius, 0, out=along))
    outside = radius <= 0
    if solid.cut is not None:
        (px, py, pz), (nx, ny, nz) = solid.cut[0].tolist(), solid.cut[1].tolist()
        plane = axis * np.float32(nz)
        plane += x * np.float32(nx) + np.float32(nx * (ax - px) - nz * pz)
        plane += y * np.float32(ny) + np.float32(ny * (ay - py))
        outside |= plane > 0
    axis[outside] = EMPTY
    old = depth[y0:y1, x0:x1]
    gap = axis - old
    ids[y0:y1, x0:x1][gap > 0] = ident
    np.maximum(old, axis, out=old)
    if solid.soft > 0:
        np.abs(gap, out=gap)
        np.subtract(np.float32(solid.soft), gap, out=gap)
        np.maximum(gap, 0, out=gap)
        np.square(gap, out=gap)
        gap *= np.float32(0.25 / solid.soft)
        old += gap


@dataclass(frozen=True)
class Light:
    """direction: [3] towards the light, x right, y down, z to the camera; colours are BGR gains."""

    direction: npt.NDArray[np.float64]
    colour: tuple[float, float, float] = (0.86, 0.86, 0.86)
    ambient: tuple[float, float, float] = (0.36, 0.34, 0.33)


def shade(albedo: U8, depth: F32, mask: U8, light: Light, metre_px: float) -> U8:
    """The lit picture, black outside the mask: uint8 [h, w, 3] BGR.

    albedo: uint8 [h, w, 3]; depth: float32 [h, w], pixels; mask: uint8 [h, w], 0 or 255.
    """
    height, width = depth.shape
    inside = np.flatnonzero(mask)
    lit = np.zeros_like(albedo)
    if not inside.size:
        return lit
    # What is empty lies just behind the body, so that outlines turn away from the camera.
    filled = np.full_like(depth, depth.ravel()[inside].min() - 10)
    cv2.copyTo(depth, mask, filled)
    gx = cv2.Sobel(filled, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8).ravel()[inside]
    gy = cv2.Sobel(filled, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8).ravel()[inside]
    x, y, z = light.direction / np.linalg.norm(light.direction)
    facing = np.float32(z) - gx * np.float32(x) - gy * np.float32(y)
    facing /= np.sqrt(1 + gx * gx + gy * gy)
    key = np.maximum(facing * np.float32(0.75) + np.float32(0.25), 0)
    # What lies behind its surroundings gets less light: an arm shades the trunk behind it. A
    # quarter of the resolution is enough for that.
    small_wh = max(width // 4, 1), max(height // 4, 1)
    share = cv2.resize(mask, small_wh, interpolation=cv2.INTER_AREA) * np.float32(1 / 255)
    size = max(int(0.0225 * metre_px) | 1, 3)
    around = cv2.blur(
        cv2.resize(filled, small_wh, interpolation=cv2.INTER_AREA) * share, (size, size)
    )
    around /= np.maximum(cv2.blur(share, (size, size)), np.float32(1e-3))
    around = cv2.resize(around, (width, height)).ravel()[inside] - filled.ravel()[inside]
    gain = 1 - np.float32(0.55) * np.clip(around * np.float32(1 / (0.11 * metre_px)), 0, 1)
    colours = albedo.reshape(-1, 3)[inside].astype(np.float32)
    key *= gain
    for channel in range(3):
        power, ambient = np.float32(light.colour[channel]), np.float32(light.ambient[channel])
        colours[:, channel] *= key * power + gain * ambient
    lit.reshape(-1, 3)[inside] = np.minimum(colours, 255)
    return lit


def compose(
    picture: U8, patch: U8, mask: U8, xy: tuple[int, int], size_wh: tuple[int, int]
) -> None:
    """Lays a patch over the picture, in place, its corner at xy; what sticks out is left away.

    patch: uint8 [h, w, 3], black outside the mask; mask: uint8 [h, w], 0 or 255. Both are brought
    to size_wh with smooth edges.
    """
    if mask.shape[::-1] == size_wh:
        patch, mask = cv2.GaussianBlur(patch, (3, 3), 0.5), cv2.GaussianBlur(mask, (3, 3), 0.5)  # type: ignore[assignment]
    else:
        how = cv2.INTER_AREA if size_wh[0] < mask.shape[1] else cv2.INTER_LINEAR
        patch = cv2.resize(patch, size_wh, interpolation=how)  # type: ignore[assignment]
        mask = cv2.resize(mask, size_wh, interpolation=how)  # type: ignore[assignment]
    x, y = xy
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + size_wh[0], picture.shape[1]), min(y + size_wh[1], picture.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    view = picture[y0:y1, x0:x1]
    clear = cv2.bitwise_not(mask[y0 - y : y1 - y, x0 - x : x1 - x])
    behind = cv2.multiply(view, cv2.merge([clear] * 3), scale=1 / 255)
    view[:] = cv2.add(behind, patch[y0 - y : y1 - y, x0 - x : x1 - x])

"""Numbers over a text in few bytes: as codes of 4 or 8 bits, deflated, in base64."""

import base64
import zlib
from typing import Any

import numpy as np


def state(values: np.ndarray) -> dict[str, Any]:
  """Returns a unit's states as 255 codes from minus to plus the largest of them; zero is exact."""
  bound = float(np.abs(values).max()) or 1.0
  return quantised(values, -bound, bound, 255, 8)


def gate(values: np.ndarray) -> dict[str, Any]:
  """Returns a gate as 16 codes from 0 to 1, or, of a candidate, which may be negative, as 15 from
  -1 to 1, so that zero is exact; the ends move out to where there are larger numbers."""
  bound = max(1.0, float(np.abs(values).max()))
  low, levels = (-bound, 15) if np.min(values) < 0 else (0.0, 16)
  return quantised(values, low, bound, levels, 4)


def quantised(values: np.ndarray, low: float, high: float, levels: int, bits: int) -> dict:
  """Returns numbers as codes, of which there are `levels`: the number is
  low + code * (high - low) / (levels - 1).

  Args:
    values: any shape; kept in row-major order.
    low: what code 0 stands for; what is below is cut.
    high: what the last code stands for; what is above is cut.
    levels: at most 2 ** bits.
    bits: 8, or 4: then there are two codes to a byte, the first in the lower half.
  """
  shares = (np.clip(np.ravel(values), low, high) - low) / (high - low)
  codes = np.rint(shares * (levels - 1)).astype(np.uint8)
  if bits == 4:
    codes = np.append(codes, np.zeros(len(codes) % 2, np.uint8)).reshape(-1, 2)
    codes = codes[:, 0] | codes[:, 1] << 4
  return {'low': low, 'high': high, 'levels': levels, 'bits': bits, 'data': _packed(codes)}


def ids(places: np.ndarray, count: int) -> dict[str, Any]:
  """Returns integers below `count`, row-major, in the fewest of 8, 16 or 32 bits, little-endian."""
  kind = np.min_scalar_type(count - 1).newbyteorder('<')
  return {'bits': 8 * kind.itemsize, 'data': _packed(np.ravel(places).astype(kind))}


def _packed(codes):
  return base64.b64encode(zlib.compress(codes.tobytes())).decode()

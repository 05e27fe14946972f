"""What the engines for NVIDIA GPUs ask of the machine."""

import jax


def compute_capability() -> tuple[int, int] | None:
  """Returns the CUDA compute capability of the default device, (9, 0) for Hopper; None where it is no CUDA device."""
  major, dot, minor = getattr(jax.local_devices()[0], 'compute_capability', '').partition('.')
  return (int(major), int(minor)) if dot else None

"""What kind of GPU there is."""

import jax


def compute_capability() -> tuple[int, int] | None:
  """Returns the CUDA compute capability of the default device, (9, 0) for Hopper; None where it is
  no CUDA device."""
  # JAX makes the attributes of its config when it is imported.
  default = jax.config.jax_default_device  # type: ignore[attr-defined]
  device = default or jax.local_devices()[0]
  major, dot, minor = getattr(device, 'compute_capability', '').partition('.')
  return (int(major), int(minor)) if dot else None

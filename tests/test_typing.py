"""What a type checker says of a user's program: which lines are wrong, and nothing of the others."""

import importlib.resources
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

PROGRAM = """
import jax
import jax.numpy as jnp

from rnn_research import bidirectional, gru, length_mask, lstm, stack, unroll, with_engine, workdir
from rnn_research.cells import make_cell
from rnn_research.losses import cross_entropy
from rnn_research.memory.attention import additive

xs, mask = jnp.zeros((5, 3, 2)), length_mask(jnp.array([1, 2, 5]), 5)
cell = with_engine(lstm(4, forget_bias=0.0), 'scan')
params = cell.init(jax.random.key(0), xs[0])
state, ys = unroll(cell, params, xs)
state, ys = unroll(cell, params, xs, state, mask=mask, key=jax.random.key(1))
unroll(stack(gru(4), make_cell('elman', 4, dtype=jnp.bfloat16)), (params, params), xs)
bidirectional(cell, cell, (params, params), xs)[1].sum()
jax.grad(lambda params: cross_entropy(unroll(cell, params, xs)[1], mask).mean())(params)

unroll(lstm, params, xs)  # wrong: a factory
unroll(cell, params, xs, lengths=mask)  # wrong: no such argument
unroll(cell, params)  # wrong: no inputs
lstm('4')  # wrong: a str
lstm(4).run(params)  # wrong: a cell has no such function
stack(gru)  # wrong: a factory
bidirectional(cell, cell, params[0], xs, mask='')  # wrong: no mask
additive(4).keys(params)  # wrong: no values
workdir.load('runs/my_lm').trace(steps=50)  # wrong: no such argument
"""


@pytest.mark.slow
def test_a_checker_reports_the_lines_that_are_wrong(tmp_path):
  (tmp_path / 'program.py').write_text(PROGRAM)
  found = subprocess.run(
    [sys.executable, '-m', 'mypy', '--config-file=', '--follow-imports=silent', 'program.py'],
    cwd=tmp_path,
    env=os.environ | {'MYPYPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  reported = {int(line) for line in re.findall(r'^program.py:(\d+): error', found.stdout, re.M)}
  lines = enumerate(PROGRAM.splitlines(), 1)
  assert reported == {number for number, line in lines if '# wrong' in line}, found.stdout


def test_checkers_are_told_that_the_package_has_types():
  assert importlib.resources.files('rnn_research').joinpath('py.typed').is_file()

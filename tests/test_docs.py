"""README.md and docs/ say what is true: their code runs, their flags exist, their links lead somewhere, the site builds."""

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import documents
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import assert_near, gradients, inputs, noisy, perturbed
from cells_under_test import run as run_cell
from documents import PAGES, ROOT, name_of
from launching import TINY, read_json, run

import experiments
import launch
from rnn_research import CELLS, cells
from rnn_research.cell import Cell
from rnn_research.encoders.encoder import Encoded, Encoder
from rnn_research.errors import InputError
from rnn_research.experiment import Experiment
from rnn_research.launching import config, listing, modes
from rnn_research.training.config import flat

# Those of the house, and those that pages show.
EXPERIMENTS = experiments.names()
EXPERIMENTS += [Path(file).stem for file in documents.files() if file.startswith('experiments/')]
every_experiment = pytest.mark.parametrize('name', EXPERIMENTS)


@pytest.fixture
def written(tmp_path, monkeypatch):
  """Puts the files that pages show beside those of the packages, and the cell among the registered ones."""
  for path, code in documents.files().items():
    file = tmp_path / 'written' / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code, 'utf-8')
    package = importlib.import_module('.'.join(file.relative_to(tmp_path / 'written').parent.parts))
    if str(file.parent) not in package.__path__:
      monkeypatch.setattr(package, '__path__', [*package.__path__, str(file.parent)])
    monkeypatch.delitem(sys.modules, path.removesuffix('.py').replace('/', '.'), raising=False)
  monkeypatch.setitem(CELLS, 'ugrnn', importlib.import_module('rnn_research.cells.ugrnn').ugrnn)


@pytest.fixture
def hook(monkeypatch):
  """Returns `name -> module`, a hook of the site."""
  monkeypatch.syspath_prepend(ROOT / 'docs' / 'hooks')
  return importlib.import_module


@pytest.fixture(scope='session')
def learned(make_once, text):
  """Returns a workdir in which an LSTM, the default of `char_lm`, was trained for 4 steps; not to be changed."""
  flags = ['--config.model.cell=lstm', '--config.train.steps=4', f'--config.data.path={text}']
  return make_once(
    'learned',
    lambda folder: run('--experiment=char_lm:debug', f'--workdir={folder}', *TINY, *flags),
  )


@pytest.mark.filterwarnings(r'ignore::DeprecationWarning:keras\..*')
@pytest.mark.parametrize('page', [p for p in PAGES if documents.examples(p)], ids=name_of)
def test_the_examples_of_a_page_run_one_after_the_other(
  page, written, learned, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('KERAS_BACKEND', 'jax')
  names, left_out = {'__name__': 'example'}, []
  for block in documents.examples(page):
    for name in re.findall(r"""['"](runs/[\w-]+)['"]""", block.code):
      (tmp_path / 'runs').mkdir(exist_ok=True)
      if not os.path.lexists(name):
        (tmp_path / name).symlink_to(learned)
    if packages := documents.lacking(block):
      left_out += packages
      continue
    # At its own line of the page, so that a traceback leads there.
    exec(compile('\n' * block.line + block.code, page, 'exec'), names)
  if left_out:
    pytest.skip(f'all but the examples that need {", ".join(sorted(set(left_out)))}')


def test_the_experiment_of_the_docs_learns(written, main, tmp_path):
  values = experiments.get_config('recall:debug')
  made = experiments.build('recall:debug', values)
  assert ('show_steps' in values.train) == (made.show is not None)
  workdir = tmp_path / 'run'
  assert main('--experiment=recall:debug', f'--workdir={workdir}')[0] == 0
  assert read_json(workdir, 'result.json')['steps'] == 20
  code, out, err = main(f'--workdir={workdir}', '--mode=first', '--symbols=3 1 4')
  assert (code, err) == (0, '')
  assert int(out) in range(8)
  for symbols, expected in {
    'x': "symbols is 'x', expected integers >= 0, such as 3 1 4",
    '9 1 4': 'symbols is [9, 1, 4], expected one or more integers in [0, 8)',
    '': 'symbols is [], expected one or more integers in [0, 8)',
  }.items():
    code, _, err = main(f'--workdir={workdir}', '--mode=first', f'--symbols={symbols}')
    assert (code, err) == (1, f'error: {expected}\n')
  code, _, err = main('--experiment=recall:debug', '--config.data.length=0')
  assert (code, err) == (1, 'error: data.length is 0, expected an integer >= 1\n')


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_the_fused_form_of_the_docs_equals_stepping(written, dtype):
  (page,) = [page for page in PAGES if page.name == 'form.md']
  names = {}
  exec(documents.examples(page)[0].code, names)
  stepping, fused = (
    names['fused_ugrnn'](5, engine=engine, dtype=dtype) for engine in ('scan', 'fused')
  )
  params, xs, mask = perturbed(stepping), inputs(), np.arange(8)[:, None] < np.array([8, 0, 5])
  state, reset = noisy(stepping.initial_state(params, 3), 3), mask & (np.arange(3) == 2)
  got, expected = (
    gradients(c, params, xs, state, mask=mask, reset=reset) for c in (fused, stepping)
  )
  assert [a.dtype for a in jax.tree.leaves(got)] == [a.dtype for a in jax.tree.leaves(expected)]
  assert_near(got, expected, 1e-4 if dtype == jnp.float32 else 0.03)
  # The products are rounded, not the state.
  (_, (end, _)), _ = got
  assert (end.h != end.h.astype(jnp.bfloat16)).any()
  exact = run_cell(names['fused_ugrnn'](5), params, xs, state, mask=mask, reset=reset)[0]
  assert bool((end.h != exact.h).any()) == (dtype == jnp.bfloat16)


def test_contracts_list_the_fields_of_the_classes():
  (page,) = [page for page in PAGES if page.name == 'contracts.md']
  text = '\n'.join(block.code for block in documents.blocks(page))
  for contract in (Cell, Encoder, Encoded, Experiment):
    body = re.search(rf'class {contract.__name__}\(NamedTuple\):\n((?:  .*\n?|\n(?=  ))+)', text)[1]
    assert tuple(re.findall(r'^  (\w+): ', body, re.M)) == contract._fields, contract


@pytest.fixture
def understand(tmp_path, monkeypatch):
  """Returns `(words, strict) -> complaint`: '' where launch.py knows what to do; it does nothing."""
  found, mode_of = config.check, modes.find
  monkeypatch.setattr(
    modes, 'find', lambda *args: mode_of(*args)._replace(run=lambda *_, **__: None)
  )
  monkeypatch.setattr(listing, 'cell_listing', str)

  def call(words, strict=True):
    monkeypatch.setattr(config, 'check', found if strict else lambda start: None)
    try:
      launch.launch(words)
    except InputError as e:
      return str(e)
    return ''

  return call


@pytest.fixture
def workdirs(written, tmp_path):
  """Returns experiment -> a folder that holds the config of a run of it, also of those that pages show."""
  folders = {name: tmp_path / name for name in EXPERIMENTS}
  for name, folder in folders.items():
    folder.mkdir()
    saved = experiments.get_config(name).to_dict()
    about = {'experiment': ':'.join(experiments.split_name(name)), 'config': saved}
    (folder / 'config.json').write_text(json.dumps(about))
  return folders


def filled_in(words, folder):
  """Returns the words of a command with something in the place of what a reader fills in."""
  words = [re.sub(r'^--workdir=.*$', f'--workdir={folder}', word) for word in words]
  words = [re.sub(r'^(--experiment=\w+):VARIANT$', r'\1', word) for word in words]
  words = [re.sub(r'^(--num_devices)=N$', r'\1=1', word) for word in words]
  words = [re.sub(r'^(--config.model.cell)=CELL$', r'\1=gru', word) for word in words]
  return [word for word in words if word != '--experiment=NAME' and not word.isupper()]


@pytest.mark.parametrize('page', [p for p in PAGES if documents.commands(p)], ids=name_of)
def test_launch_understands_the_commands_of_a_page(page, understand, workdirs, tmp_path):
  for words in documents.commands(page):
    named = any(word.startswith('--experiment=') for word in words)
    folders = [tmp_path / 'new'] if named else workdirs.values()
    complaints = [*itertools.takewhile(bool, (understand(filled_in(words, f)) for f in folders))]
    assert len(complaints) < len(folders), (words, complaints)


@pytest.mark.parametrize('page', [p for p in PAGES if documents.fragments(p)], ids=name_of)
def test_flags_in_the_text_of_a_page_exist(page, understand, workdirs):
  for words in documents.fragments(page):
    assert any(understood(words, name, understand, workdirs) for name in EXPERIMENTS), words


def understood(words, name, understand, workdirs):
  """Returns whether an experiment, in one of its modes, or one of its variants, knows the flags."""
  if words[0].startswith(':'):
    words = [f'--experiment={name}{words[0]}', *words[1:]]
  else:
    words = [f'--workdir={workdirs[name]}', *words]
  fields = flat(experiments.get_config(name))
  named = [word.split('=')[0] for word in words if word.startswith('--config.')]
  if not {field.removeprefix('--config.') for field in named} <= fields.keys():
    return False
  words = [word for word in filled_in(words, workdirs[name]) if '=' in word.rstrip('=')]
  given = any(word.startswith('--mode=') for word in words)
  tries = [[]] if given else [[f'--mode={mode}'] for mode in ('train', *experiments.commands(name))]
  return any(understand([*words, *mode], strict=False) == '' for mode in tries)


def test_a_flag_that_does_not_exist_is_noticed(understand, workdirs):
  for words in (
    ['--config.model.sell=gru'],
    ['--config.model.sell'],
    ['--temprature=1'],
    [':coppy'],
  ):
    assert not any(understood(words, name, understand, workdirs) for name in EXPERIMENTS)


def test_pages_name_the_registered_cells_and_do_not_count_them():
  readme, index = ((ROOT / page).read_text('utf-8') for page in ('README.md', 'docs/index.md'))
  assert not re.findall(r'\d+ (?:cells, in JAX|recurrences)|\d+, from Elman', readme + index)
  table = readme.split('[start:cells]')[1].split('[end:cells]')[0]
  rows = [line.split('|')[1] for line in table.splitlines() if line.startswith('| `')]
  assert sorted(re.findall(r'`(\w+)`', ' '.join(rows[1:]))) == sorted(CELLS)


def test_registered_cells_are_in_the_reference_and_may_be_imported(hook):
  factories = {getattr(factory, 'func', factory) for factory in CELLS.values()}
  made = hook('cell_reference')
  reference = (ROOT / 'docs' / made.PAGE).read_text('utf-8')
  page = SimpleNamespace(file=SimpleNamespace(src_uri=made.PAGE))
  modules = made.on_page_markdown(reference, page=page).splitlines()
  assert {f'::: {factory.__module__}' for factory in factories} - {*modules} == set()
  assert '::: rnn_research.cells.ntm' in modules  # not registered
  assert len({*modules} - {''}) == len([line for line in modules if line])
  assert {factory.__name__ for factory in factories} - {*cells.__all__} == set()


def test_every_fence_is_closed():
  for page in PAGES:
    assert not [block.line for block in documents.blocks(page) if '```' in block.code], page
    assert page.read_text('utf-8').count('```') == 2 * len(documents.blocks(page)), page


def test_links_of_the_readme_lead_somewhere():
  for file, heading in documents.links(PAGES[0]):
    assert file.exists(), file
    assert not heading or heading in documents.headings(file), (file, heading)


@every_experiment
def test_every_config_field_has_a_meaning(name, written, hook):
  comments = hook('config_reference').comments_of(name)
  for variant in experiments.variants(name):
    for field in flat(experiments.get_config(f'{name}:{variant}')):
      assert comments.get(field), f'{field} has no comment beside it'


@every_experiment
def test_every_docstring_has_the_time_of_every_variant(name, written):
  lines = importlib.import_module(f'experiments.{name}').__doc__.splitlines()
  for variant, told in experiments.variants(name).items():
    rows = [line for line in lines if line.startswith(f'  {variant} ')]
    assert rows, f'{variant} is missing'
    assert any(f' {told.time or "-"} ' in row for row in rows), rows


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
  for package in ('mkdocs', 'material', 'mkdocstrings'):
    pytest.importorskip(package)
  command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  fields = (tmp_path / 'config.html').read_text('utf-8')
  assert (
    'sampling_steps' in fields and f': {experiments.variants("char_lm")["debug"].text}<' in fields
  )
  cells = (tmp_path / 'reference' / 'cells.html').read_text('utf-8')
  assert '\nc_t = f * c_{t-1} + i * g\n' in cells  # equations keep their lines
  assert 'id="rnn_research.cells.ntm"' in cells

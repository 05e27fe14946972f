"""Puts training runs side by side: one figure, one table, each run at its best learning rate.

The runs are named by their folders, with commas between them:

  python launch.py --experiment=compare --config.workdirs=runs/a,runs/b,runs/c

  VARIANT  time
  runs     2 s for two runs; `experiments.Variant` says what the times are

A folder whose name has a comma stands in double quotes: --config.workdirs='"runs/a,1",runs/b'.
"""

import functools
from pathlib import Path

from ml_collections import ConfigDict

from rnn_research.analysis.reports import run_curves
from rnn_research.data.files import expand
from rnn_research.errors import InputError, comma_list, of_flag, require
from rnn_research.experiment import Study

VARIANTS = {
  'runs': (
    'the headline figures of the runs in --config.workdirs, over their steps (the default)',
    '2 s',
  )
}


def get_config(variant: str = 'runs') -> ConfigDict:
  """Returns the config of a variant.

  Raises:
    KeyError: no such variant.
  """
  return ConfigDict(
    {
      'seed': 0,
      # Folders of runs, with commas; a name with a comma stands in double quotes.
      'workdirs': {'runs': ''}[variant],
    }
  ).lock()


def build(config: ConfigDict, assets: dict | None = None) -> Study:
  """Makes the study.

  Raises:
    InputError: there are no runs, or they have different headlines, tasks or units.
  """
  folders = [str(expand(folder)) for folder in comma_list(config.workdirs)]
  names = {Path(folder).resolve() for folder in folders}
  require(
    'workdirs',
    config.workdirs,
    0 < len(folders) == len(names),
    'different folders of training runs, with commas between them; one with a comma in its name '
    'in double quotes',
  )
  with of_flag('workdirs'):
    runs = [run_curves.read_run(folder) for folder in folders]
  for run in runs[1:]:
    if run.about['headline'] != runs[0].about['headline']:
      raise InputError(
        f'workdirs: {run.workdir} is measured by {run_curves.figure_name(run)} and '
        f'{runs[0].workdir} by {run_curves.figure_name(runs[0])}, expected one figure for all'
      )
  # Nats of a word are more than those of a character.
  by_symbol = ('unit',) if 'symbol' in runs[0].about['headline'][1] else ()
  for field in ('task', *by_symbol):
    asked = {run.about['config'].get('data', {}).get(field) for run in runs}
    if len(asked) > 1:
      found = ', '.join(sorted(map(str, asked)))
      raise InputError(f'workdirs: the runs have data.{field} {found}, expected one {field}')
  return Study(functools.partial(_report, runs))


def _report(runs, workdir, out_dir):
  from rnn_research.analysis.reports import curve_report  # matplotlib is slow to load

  return curve_report.write_comparison(runs, out_dir)

"""What `speed` measures, a function per group that returns its numbers; those of a contender that
failed are {'failed': why}."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rnn_research.benchmark import contenders, workers
from rnn_research.benchmark.contenders import Rivals, Setting
from rnn_research.benchmark.measure import Effort, Results, measure

AXES = ('hidden_size', 'num_layers', 'batch_size', 'unroll_length')


def comparisons(
  settings: Sequence[Setting], rivals: Callable[[Setting], Rivals], effort: Effort
) -> list[dict[str, Any]]:
  """Returns {'setting', 'contenders'} of each setting: label -> {'parts', 'compile_seconds',
  'memory', 'ratios', 'symbols_per_second'}."""
  found = measure(settings, rivals, effort)

  def describe(setting, values):
    num_symbols, step = setting.batch_size * setting.unroll_length, values['parts']['step']
    return {
      **{name: values[name] for name in ('parts', 'compile_seconds', 'memory', 'ratios')},
      'symbols_per_second': num_symbols / step['median'],
    }

  return [_row('contenders', setting, found[setting], describe) for setting in settings]


def launch(settings: Sequence[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'setting', 'parts': 'loop' and 'step' -> quartiles} of each setting."""
  found = measure(settings, lambda setting: contenders.LAUNCH, effort._replace(calls=1))
  describe = lambda values: values if 'failed' in values else {'parts': values['parts']}
  return [{'setting': one._asdict(), **describe(found[one]['ours'])} for one in settings]


def parallel(settings: Sequence[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'setting', 'engines'} of each setting: label -> {'parts', 'difference', 'ratios': part
  -> median of the plain scan / median, so above 1 the engine is quicker}."""
  found = measure(settings, lambda setting: contenders.ENGINES, effort)

  def describe(setting, values):
    ratios = {part: 1.0 / ratio for part, ratio in values['ratios'].items()}
    return {'parts': values['parts'], 'difference': values['difference'], 'ratios': ratios}

  return [_row('engines', setting, found[setting], describe) for setting in settings]


def _row(name, setting, results, describe):
  measured = {
    label: values if 'failed' in values else describe(setting, values)
    for label, values in results.items()
  }
  return {'setting': setting._asdict(), name: measured}


def scaling(base: Setting, factors: Iterable[int], effort: Effort) -> dict[str, list[dict]]:
  """Measures our training step with each of `AXES` multiplied by each factor: axis -> [{'factor',
  'size', 'step': quartiles}, ..]."""
  changed = {
    (axis, factor): base._replace(**{axis: factor * getattr(base, axis)})
    for axis in AXES
    for factor in factors
  }
  settings = dict.fromkeys(changed.values())
  found = measure(settings, lambda setting: contenders.STEP, effort)
  points: dict[str, list[dict]] = {axis: [] for axis in AXES}
  for (axis, factor), setting in changed.items():
    ours = found[setting]['ours']
    points[axis].append(
      {'factor': factor, 'size': getattr(setting, axis), **ours.get('parts', ours)}
    )
  return points


def sampling(setting: Setting, rivals: Rivals, effort: Effort) -> Results:
  """Returns label -> quartiles of whole texts: one is enough for a turn, three in all."""
  effort = effort._replace(rounds=min(effort.rounds, 3), calls=1)
  found = measure([setting], lambda setting: rivals, effort, discard=0)[setting]
  return {
    f'{label}: {part}': _part(found[label], part)
    for label, rival in rivals.items()
    for part in rival.parts
  }


def translation(
  settings: Sequence[Setting], written: Setting, rivals: Mapping[str, Rivals], effort: Effort
) -> dict[str, Any]:
  """Returns 'epoch': {'setting', 'times': label -> quartiles of an epoch of training} each; and
  'greedy': label -> quartiles of a batch of sentences."""
  once = effort._replace(calls=1)
  learned = measure(settings, lambda setting: rivals['epoch'], once, discard=0)
  found = measure([written], lambda setting: rivals['greedy'], effort)[written]
  return {
    'epoch': [
      {'setting': one._asdict(), 'times': _parts(learned[one], 'epoch')} for one in settings
    ],
    'greedy': _parts(found, 'greedy'),
  }


def captioning(
  setting: Setting, rivals: Mapping[str, Rivals], effort: Effort
) -> dict[str, Results]:
  """Returns 'step' and 'greedy': label -> quartiles of a training step, the mean of
  `contenders.STEPS`, once a turn; and of a batch of `contenders.WRITTEN` captions."""
  found = {
    'step': measure([setting], lambda setting: rivals['step'], effort._replace(calls=1), discard=0),
    'greedy': measure([setting], lambda setting: rivals['greedy'], effort),
  }
  return {part: _parts(own[setting], part) for part, own in found.items()}


def machines(setting: Setting, rivals: Rivals, effort: Effort) -> Results:
  """Returns label -> quartiles of a training step."""
  found = measure([setting], lambda setting: rivals, effort)[setting]
  return _parts(found, 'step')


def pipeline(settings: Sequence[Setting], effort: Effort) -> list[dict[str, Any]]:
  """Returns {'batch_size', 'unroll_length', 'symbols_per_second', and the quartiles of a call} of
  each setting."""
  found, measured = measure(settings, lambda setting: contenders.PIPELINE, effort), []
  for setting in settings:
    shape = {'batch_size': setting.batch_size, 'unroll_length': setting.unroll_length}
    drawn = _part(found[setting]['pipeline'], 'batches')
    if 'failed' not in drawn:
      num_symbols = contenders.BATCHES_DRAWN * setting.batch_size * setting.unroll_length
      drawn = {**drawn, 'symbols_per_second': num_symbols / drawn['median']}
    measured.append({**shape, **drawn})
  return measured


def _part(result, part):
  return result if 'failed' in result else result['parts'][part]


def _parts(results, part):
  return {label: _part(result, part) for label, result in results.items()}


def memory(num_steps: int) -> Results:
  """Returns label -> `workloads.long_gradient` of one sequence, its states stored or not."""
  return workers.ask_each(contenders.long_gradients(num_steps))

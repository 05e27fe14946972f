"""Fields that a config has and its model, task or reader does not read are refused, not ignored."""

import pytest

import experiments
from rnn_research.errors import InputError

FIELDS = {
  'algorithmic:copy model.cell=lstm model.controller=gru': "model.controller is 'gru', expected 'lstm'",
  'algorithmic:copy model.cell=lstm model.num_rows=3': 'by lstm',
  'algorithmic:recall model.shift_range=9': 'by dnc',
  'algorithmic:copy model.controller=gru model.forget_bias=3.0': 'by gru',
  'algorithmic:world model.cell=entnet model.row_size=3': 'by entnet',
  'algorithmic:copy data.min_repeats=3': 'by copy',
  'long_memory:adding model.cell=lstm_nfg model.forget_bias=3.0': 'for lstm_nfg, which has no such option',
  'long_memory:adding data.modulus=7': 'by adding',
  'long_memory:parity data.permuted=True': 'by modular',
  'long_memory:copy data.path=/nowhere': 'by copy',
  'seq2seq:cho model.score=dot': 'by cho, which has no attention',
  'seq2seq:dates train.sampling_steps=100': 'where train.sampling_rate is 0',
  'seq2seq:bahdanau data.examples=9': 'where no data.task makes the pairs',
  'memory_qa:memn2n model.num_slots=9': 'by memn2n',
  'memory_qa:entnet model.num_hops=2': 'by entnet',
  'memory_qa:tpr model.forget_bias=2.0': 'by tpr',
  'memory_qa:lstm model.name=gru model.forget_bias=2.0': 'by gru',
  'glimpse:mnist model.looks=centre model.std=0.1': 'where no place is learned by trial',
  'glimpse:mnist model.looks=random model.seek_units=9': 'where no place is learned by trial',
  'captioning:merge model.attention_size=9': 'by merge, which has no attention',
  'captioning:shapes train.entropy=0.1': 'by soft_attention',
  'captioning:shapes train.samples=9': 'where train.objective is not cider',
  'draw:whole model.read_size=9': 'where model.sight is whole',
}


def changed(words):
  name, *settings = words.split()
  config = experiments.get_config(name).unlock()
  for setting in settings:
    field, value = setting.split('=')
    block, key = field.split('.')
    config[block][key] = type(config[block][key])(value)
  return name, config.lock(), settings[-1].split('=')[0]


@pytest.mark.parametrize('words', FIELDS)
def test_what_nothing_reads_is_refused(words):
  name, config, field = changed(words)
  with pytest.raises(InputError, match=rf'^{field} is .*, expected ') as e:
    experiments.check(name, config)
    experiments.check_read(name, config, experiments.get_config(name))
  assert FIELDS[words] in str(e.value)


@pytest.mark.parametrize('experiment', experiments.names())
def test_every_variant_has_the_fields_that_it_does_not_read(experiment):
  for variant in experiments.variants(experiment):
    name = f'{experiment}:{variant}'
    config = experiments.get_config(name)
    for field in experiments._offer(name, 'unused', lambda config: ())(config):
      block, key = field.split('.')
      assert key in config[block], (name, field)

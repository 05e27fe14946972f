"""Lines for people on a terminal, and elsewhere."""

import shlex
import sys

import pytest

from rnn_research import terminal

FACTS = 'step 500/3000  valid/nats_per_symbol 1.8  valid/perplexity 6.1'
WORDS = ['python', 'launch.py', "--workdir=it's a $run", '--mode=sample', '--prompt=the ', 'b\tc']


@pytest.fixture
def columns(monkeypatch, capsys):
  """Returns `(width)`, which makes standard output a terminal of that width."""

  def narrow(width):
    monkeypatch.setenv('COLUMNS', str(width))
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)

  return narrow


def test_a_pipe_gets_whole_lines(capsys):
  assert terminal.fitted(f'{FACTS}\nand ' + 99 * 'so on ') == f'{FACTS}\nand ' + 99 * 'so on '
  assert (
    terminal.table([('a', 'of words ' * 20), ('bcd', 'e')]) == f'a    {"of words " * 20}\nbcd  e'
  )
  assert '\n' not in terminal.command(WORDS * 20)


def test_lines_end_between_facts_or_words(columns):
  columns(60)
  expected = 'step 500/3000  valid/nats_per_symbol 1.8\n  valid/perplexity 6.1'
  assert terminal.fitted(FACTS) == expected
  columns(12)
  assert terminal.fitted('  one two three\nfour') == '  one two\n    three\nfour'


def test_a_second_column_goes_on_under_itself(columns):
  columns(20)
  rows = [('a', 'of one two three four'), ('a-long-one', 'five six seven')]
  assert terminal.table(rows, most=4) == (
    'a  of one two three\n   four\na-long-one\n   five six seven'
  )


@pytest.mark.parametrize('width', [20, 40, 80, 500])
def test_a_command_is_what_a_shell_reads(columns, width):
  columns(width)
  text = terminal.command(WORDS)
  assert shlex.split(text.replace('\\\n', '')) == WORDS
  assert "--prompt='the '" in text
  widest = max(map(len, text.split('\n')))
  assert widest <= width or widest <= max(map(len, map(shlex.quote, WORDS))) + 6

import { describe, expect, it } from 'vitest';
import { byAge, isWanted } from '../../lib/protocol/versions.js';

describe('a version is wanted', () => {
  it.each([
    ['1.0.0', '1.0.0'],
    ['1.0', '1.0'],
    ['', ''],
    ['blue', 'blue'],
    ['^1.0.0', '^1.0.0'],
    ['1.0.0+build.1', '1.0.0+build.1'],
  ])('where it is the very same text: %j for %j', (version, wanted) => {
    expect(isWanted(version, wanted)).toBe(true);
  });

  it.each([
    ['1.0.0', '1.0'],
    ['1.0.0', '1'],
    ['1.0', '1.0.0'],
    ['1.0.0', 'v1.0.0'],
    ['1.0.0', ' 1.0.0'],
    ['1.0.0', '1.0.1'],
    ['1.0.0', ''],
    ['1.0.0+one', '1.0.0+two'],
    ['blue', 'Blue'],
    ['xenon', 'x'],
  ])('exactly where no range is written, and no guess is made: not %j for %j', (version, wanted) => {
    expect(isWanted(version, wanted)).toBe(false);
  });

  it.each([
    ['1.4.2', '^1.2.0', true],
    ['2.0.0', '^1.2.0', false],
    ['1.1.9', '^1.2.0', false],
    ['0.2.9', '^0.2.3', true],
    ['0.3.0', '^0.2.3', false],
    ['1.2.9', '~1.2.3', true],
    ['1.3.0', '~1.2.3', false],
    ['1.9.0', '1.x', true],
    ['2.0.0', '1.x', false],
    ['1.2.7', '1.2.X', true],
    ['1.3.0', '1.2.*', false],
    ['7.0.0', '*', true],
    ['7.0.0', 'x', true],
    ['2.5.0', '>=1 <3', true],
    ['3.0.0', '>=1 <3', false],
    ['1.0.0', '=1.0.0', true],
    ['1.5.0', '1.0.0 - 2.0.0', true],
    ['2.0.1', '1.0.0 - 2.0.0', false],
    ['3.1.0', '^1.0.0 || ^3.0.0', true],
    ['2.1.0', '^1.0.0 || ^3.0.0', false],
  ])('by a range, as npm reads it: %j for %j is %j', (version, wanted, expected) => {
    expect(isWanted(version, wanted)).toBe(expected);
  });

  it.each([
    ['2.0.0-beta.1', '^2.0.0', false],
    ['2.0.0-beta.1', '*', false],
    ['2.0.0-beta.2', '^2.0.0-beta.1', true],
    ['2.0.0-beta.1', '2.0.0-beta.1', true],
  ])('before its release only where that is asked for: %j for %j is %j', (version, wanted, expected) => {
    expect(isWanted(version, wanted)).toBe(expected);
  });

  it.each([
    ['blue', '*'],
    ['', '*'],
    ['1.0', '^1.0.0'],
    ['^1.0.0', '^1.0'],
  ])('by no range where it is no semantic version: not %j for %j', (version, wanted) => {
    expect(isWanted(version, wanted)).toBe(false);
  });

  it.each(['>=', '^^1.0.0', '^', '~blue', '*'.repeat(64), '1.0.0 - ', '|| ||', '>1 <', '\0*', '^1.0.0\n'])(
    'by nothing that is no range, and nothing is thrown: %j',
    (wanted) => {
      expect(() => isWanted('blue', wanted)).not.toThrow();
      expect(isWanted('blue', wanted)).toBe(false);
    },
  );
});

describe('age', () => {
  it('puts newer versions behind older ones, by number and not by text, and every release behind what came before one', () => {
    const versions = ['10.0.0', '2.0.0', '9.1.0', '2.0.0-rc.1', '2.0.0-rc.10', '2.0.0-rc.9', '0.0.1'];
    expect(versions.toSorted(byAge)).toEqual([
      ...['2.0.0-rc.1', '2.0.0-rc.9', '2.0.0-rc.10', '0.0.1', '2.0.0', '9.1.0', '10.0.0'],
    ]);
  });

  it('says nothing of what is no semantic version', () => {
    expect([byAge('blue', 'green'), byAge('', '1.0.0'), byAge('1.0.0', 'blue')]).toEqual([0, 0, 0]);
  });
});

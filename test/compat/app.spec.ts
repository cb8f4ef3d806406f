import { expect, test } from '@jest/globals';
import { addAcrossNodes } from './app.js';
import { BEHAVIOURS } from './behaviours.js';

test('N-75 a call passes from one Nest app to another', async () => {
  expect(await addAcrossNodes(1, 2)).toBe(3);
});

test.each([...BEHAVIOURS.keys()])('N-75 as in the tests of this version of Nest: %s', async (name) => {
  await BEHAVIOURS.get(name)?.();
});

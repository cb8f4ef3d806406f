import { expect, test } from '@jest/globals';
import { addAcrossNodes } from './app.js';
import { BEHAVIOURS } from './behaviours.js';

test('N-75 a call passes from one Nest app to another', async () => {
  expect(await addAcrossNodes(1, 2)).toBe(3);
});

/** Jest turns modules into others while it runs them. */
const TIMEOUT = 60_000;

const run = async (name: string): Promise<void> => BEHAVIOURS.get(name)?.();
test.each([...BEHAVIOURS.keys()])('N-75 with this version of Nest: %s', run, TIMEOUT);

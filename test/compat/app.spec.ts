import { expect, test } from '@jest/globals';
import { addAcrossNodes } from './app.js';

test('a call passes from one Nest app to another', async () => {
  expect(await addAcrossNodes(1, 2)).toBe(3);
});

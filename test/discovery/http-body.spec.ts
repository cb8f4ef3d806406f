import { describe, expect, it } from 'vitest';
import { BodyTooLarge, linesOf, textOf } from '../../lib/discovery/http-body.js';

/** In pieces of so many bytes. */
async function* piecesOf(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function linesIn(text: string, size: number, most: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(piecesOf(text, size), most)) lines.push(line);
  return lines;
}

describe.each([1, 2, 3, 5, 1000])('an answer in pieces of %i bytes', (size) => {
  it('is read as a whole, up to a limit', async () => {
    await expect(textOf(piecesOf('tä€😀', size), 10)).resolves.toBe('tä€😀');
    await expect(textOf(piecesOf('tä€😀', size), 9)).rejects.toBeInstanceOf(BodyTooLarge);
    await expect(textOf(piecesOf('', size), 0)).resolves.toBe('');
  });

  it('is read line by line, each up to a limit; what is no line yet is left out', async () => {
    await expect(linesIn('a\n\nä€😀\nbc\nrest', size, 9)).resolves.toEqual(['a', '', 'ä€😀', 'bc']);
    await expect(linesIn('12345\n1234567890\n', size, 9)).rejects.toBeInstanceOf(BodyTooLarge);
    await expect(linesIn('12345\n1234567890', size, 9)).rejects.toBeInstanceOf(BodyTooLarge);
  });

  it('gives the lines before one that is too long', async () => {
    const lines: string[] = [];
    const reading = (async () => {
      for await (const line of linesOf(piecesOf('12345\n1234567890\n', size), 9)) lines.push(line);
    })();
    await expect(reading).rejects.toBeInstanceOf(BodyTooLarge);
    expect(lines).toEqual(['12345']);
  });
});

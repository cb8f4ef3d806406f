/** Answers over HTTP, read no further than is asked for: anybody may have written them. */

/** More came than whoever asked can have meant. */
export class BodyTooLarge extends Error {}

/** @throws BodyTooLarge, or what ended the reading. */
export async function textOf(body: AsyncIterable<Uint8Array>, most: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > most) throw new BodyTooLarge(`The answer is larger than ${most} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const NEWLINE = 0x0a;

/** Line after line, as they come; what follows the last one is left out. @throws BodyTooLarge for a line above `most` bytes. */
export async function* linesOf(body: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<string> {
  let begun: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    let at = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, at)) {
      if (bytes + end - at > most) throw new BodyTooLarge(`A line of the answer is larger than ${most} bytes.`);
      yield Buffer.concat([...begun, chunk.subarray(at, end)]).toString('utf8');
      [begun, bytes, at] = [[], 0, end + 1];
    }
    if (at === chunk.byteLength) continue;
    begun.push(chunk.subarray(at));
    bytes += chunk.byteLength - at;
    if (bytes > most) throw new BodyTooLarge(`A line of the answer is larger than ${most} bytes.`);
  }
}

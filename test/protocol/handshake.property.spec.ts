/** Proofs, as pure functions: whom they convince, and whom never. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  deriveKeys,
  proveClient,
  proveServer,
  transcript,
  verifyClient,
  verifyServer,
  type RoleKeys,
} from '../../lib/protocol/handshake.js';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const secret = fc.uint8Array({ minLength: 16, maxLength: 64 });
/** Some bytes, and a length: as long as a hello may be, and soon made small when something fails. */
const upTo = (length: number) =>
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 16 }), fc.integer({ min: 1, max: length }))
    .map(([pattern, size]) => Uint8Array.from({ length: size }, (_, at) => (pattern[at % pattern.length] ?? 0) ^ at));
/** What the words of a hello mean is no matter of the proofs. */
const words = upTo(300);

interface Conversation {
  readonly client: readonly RoleKeys[];
  readonly server: readonly RoleKeys[];
  /** Client's hello, server's hello, binding: as the client and as the server know them. */
  readonly clientHeard: readonly Uint8Array[];
  readonly serverHeard: readonly Uint8Array[];
  /** What becomes of the proofs on their way. */
  readonly onProofs?: (proofs: Uint8Array) => Uint8Array;
  readonly onAccept?: (proof: Uint8Array) => Uint8Array;
}

/** Both ends of a handshake: who was satisfied with whom? */
function converse({ client, server, clientHeard, serverHeard, onProofs, onAccept }: Conversation) {
  const [atClient, atServer] = [clientHeard, serverHeard].map(([hello, answer, binding]) => {
    if (hello === undefined || answer === undefined || binding === undefined) throw new Error('three parts are heard');
    return transcript(hello, answer, binding);
  });
  if (atClient === undefined || atServer === undefined) throw new Error('there are two ends');
  const proofs = proveClient(client, atClient);
  const received = onProofs?.(proofs) ?? proofs;
  const key = verifyClient(server, atServer, received);
  if (key === undefined) return { byServer: false, byClient: false };
  const accept = proveServer(key, atServer, received);
  return { byServer: true, byClient: verifyServer(client, atClient, proofs, onAccept?.(accept) ?? accept) };
}

const BOTH = { byServer: true, byClient: true };
const NOBODY = { byServer: false, byClient: false };

function flipped(original: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(original);
  const at = Math.floor(bit / 8) % copy.length;
  copy[at] = (copy[at] ?? 0) ^ (1 << (bit % 8));
  return copy;
}

describe('proofs', () => {
  const conversation = fc.tuple(secret, words, words, bytes(32));
  const bit = fc.nat({ max: 300 * 8 });

  it('hold between two that share the secret', () => {
    fc.assert(
      fc.property(conversation, ([one, ...heard]) => {
        const [client, server] = [[deriveKeys(one)], [deriveKeys(Uint8Array.from(one))]];
        expect(converse({ client, server, clientHeard: heard, serverHeard: heard })).toEqual(BOTH);
      }),
    );
  });

  it('never hold between two that do not', () => {
    fc.assert(
      fc.property(conversation, secret, ([one, ...heard], other) => {
        fc.pre(!Buffer.from(one).equals(other));
        const [client, server] = [[deriveKeys(one)], [deriveKeys(other)]];
        expect(converse({ client, server, clientHeard: heard, serverHeard: heard })).toEqual(NOBODY);
      }),
    );
  });

  it('fall with any bit of either hello or of the binding', () => {
    fc.assert(
      fc.property(conversation, fc.nat({ max: 2 }), bit, ([one, ...heard], part, index) => {
        const keys = [deriveKeys(one)];
        const serverHeard = heard.map((said, at) => (at === part ? flipped(said, index) : said));
        expect(converse({ client: keys, server: keys, clientHeard: heard, serverHeard })).toEqual(NOBODY);
      }),
    );
  });

  it('fall when a byte moves from one part to the next', () => {
    fc.assert(
      fc.property(conversation, ([one, hello, answer, binding]) => {
        const keys = [deriveKeys(one)];
        const moved = [hello.subarray(0, -1), Buffer.concat([hello.subarray(-1), answer]), binding];
        const heard = { clientHeard: [hello, answer, binding], serverHeard: moved };
        expect(converse({ client: keys, server: keys, ...heard })).toEqual(NOBODY);
      }),
    );
  });

  it("fall with any bit of the client's proof, and of the server's", () => {
    fc.assert(
      fc.property(conversation, bit, ([one, ...heard], index) => {
        const keys = [deriveKeys(one)];
        const settings = { client: keys, server: keys, clientHeard: heard, serverHeard: heard };
        const flip = (proof: Uint8Array): Uint8Array => flipped(proof, index);
        expect(converse({ ...settings, onProofs: flip })).toEqual(NOBODY);
        expect(converse({ ...settings, onAccept: flip })).toEqual({ byServer: true, byClient: false });
      }),
    );
  });

  it('of several secrets fall at one end or the other with any bit of any of them', () => {
    fc.assert(
      fc.property(
        fc.array(secret, { minLength: 2, maxLength: 4 }),
        words,
        words,
        bit,
        (secrets, hello, answer, index) => {
          const client = secrets.map(deriveKeys);
          const heard = [hello, answer, new Uint8Array(32)];
          const settings = { client, server: client.slice(0, 1), clientHeard: heard, serverHeard: heard };
          expect(converse(settings)).toEqual(BOTH);
          expect(converse({ ...settings, onProofs: (proofs) => flipped(proofs, index) }).byClient).toBe(false);
        },
      ),
    );
  });

  it("of one role are never the other's", () => {
    fc.assert(
      fc.property(conversation, words, ([one, ...heard], proofs) => {
        const keys = deriveKeys(one);
        const [hello, answer, binding] = heard;
        const script = transcript(hello, answer, binding);
        for (const covered of [new Uint8Array(0), proofs, proveClient([keys], script)]) {
          expect(verifyClient([keys], script, proveServer(keys, script, covered))).toBeUndefined();
          expect(verifyServer([keys], script, covered, proveClient([keys], script))).toBe(false);
        }
        expect(verifyServer([keys], script, new Uint8Array(0), proveClient([keys], script))).toBe(false);
      }),
    );
  });

  it('of any length and content but the right one are refused, and nothing is thrown', () => {
    fc.assert(
      fc.property(conversation, fc.oneof(upTo(200), fc.constant(new Uint8Array(0))), ([one, ...heard], guess) => {
        const keys = [deriveKeys(one)];
        const [hello, answer, binding] = heard;
        const script = transcript(hello, answer, binding);
        expect(verifyClient(keys, script, guess)).toBeUndefined();
        expect(verifyServer(keys, script, new Uint8Array(0), guess)).toBe(false);
      }),
    );
  });

  it('H-18 hold between any two sets of secrets that have one in common, and no others', () => {
    const SECRETS = ['oldest', 'older', 'newer', 'newest'].map((one) => deriveKeys(Buffer.from(one)));
    const some = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 1 });
    fc.assert(
      fc.property(some, some, words, words, (ofClient, ofServer, hello, answer) => {
        const [client, server] = [ofClient, ofServer].map((set) => set.flatMap((at) => SECRETS[at] ?? []));
        if (client === undefined || server === undefined) throw new Error('there are two ends');
        const heard = [hello, answer, new Uint8Array(32)];
        const common = ofClient.some((one) => ofServer.includes(one));
        const verdict = converse({ client, server, clientHeard: heard, serverHeard: heard });
        expect(verdict).toEqual(common ? BOTH : NOBODY);
      }),
      { numRuns: 500 },
    );
  });
});

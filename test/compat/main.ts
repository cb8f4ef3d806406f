import { strict as assert } from 'node:assert';
import { GenRpcServer } from 'nestjs-gen-rpc';
import { addAcrossNodes } from './app.js';
import { BEHAVIOURS } from './behaviours.js';

async function main(): Promise<void> {
  assert.equal(await addAcrossNodes(1, 2), 3);
  for (const behaviour of BEHAVIOURS.values()) await behaviour();
  const imported = await import('nestjs-gen-rpc');
  assert.equal(imported.GenRpcServer, GenRpcServer, 'require() and import() give one and the same class');
}

void main();

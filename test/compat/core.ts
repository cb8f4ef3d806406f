import { strict as assert } from 'node:assert';
import * as core from 'nestjs-gen-rpc/core';
import * as testing from 'nestjs-gen-rpc/testing';

assert.equal(typeof core.GenRpcError, 'function');
assert.equal(new testing.VirtualClock().now(), 0);
void assert.rejects(testing.createTestCluster({ nodes: {} }), { message: /@nestjs/ });

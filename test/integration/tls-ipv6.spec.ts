import { integration } from './scenarios.js';
import { CUTS } from './cuts.js';
import { IMPAIRMENTS } from './impairments.js';
import { VERBS } from './verbs.js';

integration('tls', 6, { ...VERBS, ...CUTS, ...IMPAIRMENTS });

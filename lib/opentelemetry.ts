/** Calls as spans of OpenTelemetry. Needs `@opentelemetry/api`, and an SDK that the application registers. */
export { openTelemetry, type OpenTelemetryOptions } from './opentelemetry/open-telemetry.js';

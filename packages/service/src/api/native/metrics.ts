import type { FastifyInstance } from 'fastify';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { jobStates } from './job-schema.ts';

/** What the service counts about itself, in Prometheus' terms. */
export interface Metrics {
  readonly registry: Registry;
  readonly requestSeconds: Histogram<'method' | 'route' | 'status'>;
  readonly sentBytes: Counter;
  readonly receivedBytes: Counter;
}

/** `countJobs` gives the number of jobs in a state when the metrics are read. */
export function makeMetrics(countJobs: () => Promise<Partial<Record<string, number>>>): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  new Gauge({
    name: 'gantry_jobs',
    help: 'Jobs by state',
    labelNames: ['state'],
    registers,
    async collect() {
      const counts = await countJobs();
      for (const state of jobStates) this.set({ state }, counts[state] ?? 0);
    },
  });
  return {
    registry,
    requestSeconds: new Histogram({
      name: 'gantry_http_request_duration_seconds',
      help: 'Time from the first byte of a request to the last of its answer',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600],
      registers,
    }),
    sentBytes: new Counter({ name: 'gantry_http_sent_bytes_total', help: 'Bytes of answers', registers }),
    receivedBytes: new Counter({
      name: 'gantry_http_received_bytes_total',
      help: 'Bytes of requests',
      registers,
    }),
  };
}

/** Counts every request by its route, never by its path: paths hold names of users' objects. */
export function observeRequests(app: FastifyInstance, metrics: Metrics): void {
  app.server.on('connection', (socket) => {
    socket.on('close', () => {
      metrics.sentBytes.inc(socket.bytesWritten);
      metrics.receivedBytes.inc(socket.bytesRead);
    });
  });
  app.addHook('onResponse', async (request, reply) => {
    const labels = {
      method: request.method,
      route: request.routeOptions.url ?? 'none',
      status: `${reply.statusCode}`,
    };
    metrics.requestSeconds.observe(labels, reply.elapsedTime / 1000);
  });
}

// `node --import` of this file records spans as an SDK would, through the interfaces of OpenTelemetry's API alone: each process appends
// those that end to a file of its own in the folder SPANS, a line of JSON for each.
import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { context, defaultTextMapGetter, defaultTextMapSetter, propagation, ROOT_CONTEXT, trace } from "@opentelemetry/api";

const file = join(process.env.SPANS, `${process.pid}.jsonl`);
const random = (bytes) => randomBytes(bytes).toString("hex");

class RecordedSpan {
  constructor(name, { attributes = {}, kind = 0, startTime = Date.now() }, parent) {
    this.context = { traceId: parent?.traceId ?? random(16), spanId: random(8), traceFlags: 1 };
    this.record = { name, kind, attributes: { ...attributes }, start: startTime, parent: parent?.spanId ?? null, errors: [], active: null };
  }
  spanContext = () => this.context;
  isRecording = () => true;
  setAttributes(more) {
    Object.assign(this.record.attributes, more);
    return this;
  }
  recordException = (error) => this.record.errors.push(error.message ?? error);
  setStatus({ code }) {
    this.record.status = code;
    return this;
  }
  end() {
    // What is around when a span ends: of the span of a request it is that span, where its context was made the active one.
    const active = trace.getSpanContext(context.active())?.spanId ?? null;
    const { traceId: trace_, spanId: id } = this.context;
    appendFileSync(file, `${JSON.stringify({ ...this.record, trace: trace_, id, end: Date.now(), active })}\n`);
  }
}

const storage = new AsyncLocalStorage();
context.setGlobalContextManager({
  active: () => storage.getStore() ?? ROOT_CONTEXT,
  with: (around, work, self, ...args) => storage.run(around, () => work.apply(self, args)),
  bind: (_, work) => work,
  enable: () => undefined,
  disable: () => undefined,
});
propagation.setGlobalPropagator({
  fields: () => ["traceparent"],
  inject(from, carrier, setter = defaultTextMapSetter) {
    const span = trace.getSpanContext(from);
    if (span) setter.set(carrier, "traceparent", `00-${span.traceId}-${span.spanId}-01`);
  },
  extract(into, carrier, getter = defaultTextMapGetter) {
    const [, traceId, spanId] = /^00-(\w{32})-(\w{16})-01$/.exec(getter.get(carrier, "traceparent")) ?? [];
    return traceId ? trace.setSpanContext(into, { traceId, spanId, traceFlags: 1, isRemote: true }) : into;
  },
});
trace.setGlobalTracerProvider({
  getTracer: () => ({
    startSpan: (name, options, within) => new RecordedSpan(name, options, trace.getSpanContext(within)),
  }),
});

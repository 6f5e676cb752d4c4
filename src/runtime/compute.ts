import type { Feeds } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { openSession, type Session, type SessionOptions } from './session.ts';

/** Runs graphs that passes make for their arithmetic. */
export interface Computer {
  /** Runs a graph; its session stays open for the next call with the same Model value. `into` is written over, as `Session.run` does. */
  compute(graph: Model, feeds: Feeds, into?: Feeds): Promise<Feeds>;
  /** Closes all sessions. */
  close(): Promise<void>;
}

/**
 * A computer that keeps the sessions of the `capacity` graphs used last. onnxruntime runs one graph at a time anyway (a run
 * blocks the event loop), so calls wait for each other; that also keeps a session from being closed under a run.
 */
export function openComputer(capacity = 4, options: SessionOptions = {}): Computer {
  // A Map iterates in insertion order: the first entry is the one used longest ago.
  const sessions = new Map<Model, Session>();
  let last: Promise<unknown> = Promise.resolve();

  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };

  const sessionOf = async (graph: Model): Promise<Session> => {
    const session = sessions.get(graph) ?? (await openSession(graph, options));
    sessions.delete(graph);
    sessions.set(graph, session);
    for (const [oldest, open] of sessions) {
      if (sessions.size <= capacity) break;
      sessions.delete(oldest);
      await open.close();
    }
    return session;
  };

  return {
    compute: (graph, feeds, into) => inTurn(async () => (await sessionOf(graph)).run(feeds, undefined, into)),
    close: () =>
      inTurn(async () => {
        const open = [...sessions.values()];
        sessions.clear();
        for (const session of open) await session.close();
      }),
  };
}

import { fileURLToPath } from 'node:url';

export default {
  testEnvironment: fileURLToPath(new URL('./test/helpers/jest-environment.mjs', import.meta.url)),
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  setupFilesAfterEnv: ['<rootDir>/test/helpers/oracle_setup.ts'],
  transform: { '^.+\\.ts$': '<rootDir>/test/helpers/jest-transform.cjs' },
  sandboxInjectedGlobals: ['Math'],
  testTimeout: 60_000,
  coverageProvider: 'v8',
  collectCoverageFrom: ['src/**/*.ts'],
};

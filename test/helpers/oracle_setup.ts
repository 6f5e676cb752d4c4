// Files whose tests apply quantizers; the one of layouts has this oracle of its own.
if (
  /passes\/(quantize|recover|allocate|encode)\/(?!layouts)|passes\/options|\/(run|analyze)\//.test(
    expect.getState().testPath ?? '',
  )
)
  (await import('./oracle.ts')).watch();

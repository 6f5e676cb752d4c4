import jest from 'eslint-plugin-jest';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/', 'runs/', '.stryker/', 'bench/.venv/'] },
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'max-lines': ['error', { max: 320, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/cli/**'],
    rules: { 'no-console': 'error', 'no-restricted-properties': ['error', { object: 'process', property: 'exit' }] },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: ['', ' > ChainExpression']
            .map(
              (chain) =>
                `TSAsExpression[typeAnnotation.type!="TSUnionType"]${chain} > CallExpression[callee.property.name=/^(get|find)$/]`,
            )
            .join(', '),
          message:
            'a cast hides that nothing was found: use must(map, key, what) or given(value, what) of src/util/must.ts',
        },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    ignores: ['test/helpers/fc.ts'],
    plugins: { jest },
    rules: {
      'no-restricted-imports': [
        'error',
        { name: 'fast-check', message: 'test/helpers/fc.ts is fast-check with a fixed seed' },
      ],
      'jest/expect-expect': ['error', { assertFunctionNames: ['expect', 'expect*', 'fc.assert'] }],
      'jest/no-focused-tests': 'error',
      'jest/no-disabled-tests': 'error',
    },
  },
);

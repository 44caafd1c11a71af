// Where the program's imports are looked for, and what the program itself is; see entry.cjs.

let told

export function initialize(data) {
  told = data
}

export function resolve(name, context, next) {
  return next(name, context.parentURL === told.program ? { ...context, parentURL: told.beside } : context)
}

export function load(url, context, next) {
  return next(url, url === told.program && told.isModule ? { ...context, format: 'module' } : context)
}

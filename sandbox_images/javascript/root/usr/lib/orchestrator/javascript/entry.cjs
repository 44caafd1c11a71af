'use strict'

// Loaded before the program. The program lies read-only outside of the working directory and its files lie in it, so
// what it asks for by a relative name is looked for beside them; and a program written as a module runs as one, whatever
// its file is called.

const Module = require('node:module')
const { readFileSync } = require('node:fs')
const { pathToFileURL } = require('node:url')
const { Script } = require('node:vm')
const { isMainThread } = require('node:worker_threads')

const PROGRAM = '/program/main.js'
const ONLY_IN_MODULES = /import statement outside a module|Unexpected token 'export'|'import\.meta'|await is only valid/

const beside = new Module(`${process.cwd()}/main.js`)
beside.filename = beside.id
beside.paths = Module._nodeModulePaths(process.cwd())

function resolveBeside() {
  const resolve = Module._resolveFilename
  Module._resolveFilename = function (name, parent, ...rest) {
    return resolve.call(this, name, parent?.filename === PROGRAM ? beside : parent, ...rest)
  }
}

function isModule(source) {
  try {
    new Script(Module.wrap(source))
    return false
  } catch (fault) {
    return ONLY_IN_MODULES.test(fault.message)
  }
}

function prepareImports() {
  const source = readFileSync(PROGRAM, 'utf8')
  if (!/\b(import|export|await)\b/.test(source)) return
  const program = pathToFileURL(PROGRAM).href
  const data = { program, beside: pathToFileURL(beside.filename).href, isModule: isModule(source) }
  if (!data.isModule && !/\bimport\b/.test(source)) return
  Module.register('./hooks.mjs', { parentURL: pathToFileURL(__filename), data })
  if (data.isModule) Module.runMain = () => import(program)
}

if (isMainThread && process.argv[1] === PROGRAM) {
  resolveBeside()
  prepareImports()
}

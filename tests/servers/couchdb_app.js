// CouchDB's protocol over LevelDB: node couchdb_app.js PORT FOLDER. The packages come by NODE_PATH.
const PouchDB = require("pouchdb-node");
const couchdb = require("express-pouchdb");

const [port, folder] = process.argv.slice(2);
const onDisk = PouchDB.defaults({ prefix: `${folder}/` });
couchdb(onDisk, { mode: "minimumForPouchDB" }).listen(Number(port), "127.0.0.1");

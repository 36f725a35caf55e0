// FeathersJS with its services in memory: feathers_app.js PORT
const { feathers } = require('@feathersjs/feathers');
const express = require('@feathersjs/express');
const { memory } = require('@feathersjs/memory');

const { BadRequest } = require('@feathersjs/errors');

const app = express.default(feathers());
app.use(express.json());
app.configure(express.rest());
for (const name of ['projects', 'tasks']) {
  app.use(name, memory({ paginate: { default: 5, max: 100 } }));
  app.service(name).hooks({
    before: {
      create: [(context) => {
        if (!context.data.title) throw new BadRequest('title is missing');
      }],
    },
  });
}
app.use(express.notFound());
app.use(express.errorHandler({ html: false, logger: false }));
app.listen(Number(process.argv[2]), '127.0.0.1');

aspect changing {
  @cds.on.insert: $now  @cds.on.update: $now
  modifiedAt : Timestamp @odata.etag;
}

entity my.projects : changing { key ID : UUID; title : String(40) not null; }
entity my.tasks : changing { key ID : UUID; title : String(40) not null; project : Association to my.projects; }

@path: '/odata'
@cds.query.limit: { default: 5, max: 100 }
service Notes {
  entity projects as projection on my.projects;
  entity tasks as projection on my.tasks;
}

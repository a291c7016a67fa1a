create table orders (day text, customer text, item text, count integer, price real);
insert into orders values
  ('2024-01-03', 'Ada', 'keyboard', 2, 49.50),
  ('2024-01-03', 'Grace', 'monitor', 1, 189.00),
  ('2024-01-04', 'Ada', 'cable', 5, 3.20),
  ('2024-01-05', 'Edsger', 'keyboard', 1, 49.50),
  ('2024-01-08', 'Grace', 'cable', 12, 3.20),
  ('2024-01-08', 'Barbara', 'monitor', 2, 189.00),
  ('2024-01-09', 'Edsger', 'stand, adjustable', 1, 34.95);
create index orders_by_customer on orders (customer);
vacuum into '/out/orders.db';

begin;
update orders set count = count + 1 where customer = 'Ada';
delete from orders where customer <> 'Ada';
commit;
vacuum;
select customer, count(*), sum(count) from orders;

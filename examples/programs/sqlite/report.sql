select customer, count(*) as orders, printf('%.2f', sum(count * price)) as total
from orders group by customer order by sum(count * price) desc;
select item, sum(count) as sold from orders group by item order by sold desc, item;

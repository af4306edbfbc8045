-- A price on sale changes by a new version, and the versions are its history. A price of a draft changes in place: the
-- change log keeps what it was. Closing a version and giving it its first day leave its values as they are.
CREATE TRIGGER history AFTER UPDATE OF price, price_unit, lower_limit, upper_limit ON package_price
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'package_price', 'retail_company_id', 'package_id', 'price_id');
